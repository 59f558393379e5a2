// Sends jobs to the back end, a few at a time; can be stopped and tried again.

const AT_ONCE = 2;
export const STOPPED = "stopped before it was answered";

/**
 * Makes a queue.
 *
 * @param ask Given a job and an AbortSignal; resolves when all models have answered.
 * @param changed Told when a job is begun, done or given up.
 */
export function makeQueue(ask, changed) {
  let waiting = [];
  let running = 0;
  let stopping = new AbortController();
  let counts = { done: 0, all: 0 };

  function work() {
    while (running < AT_ONCE && waiting.length) {
      running += 1;
      const job = waiting.shift();
      const { signal } = stopping;
      ask(job, signal).then(() => {
        if (signal.aborted) return;
        running -= 1;
        counts.done += job.files.length;
        job.counted = true;
        changed();
        work();
      });
    }
  }

  return {
    get counts() {
      return { ...counts, left: counts.all - counts.done };
    },
    add(jobs) {
      waiting.push(...jobs);
      counts.all += jobs.reduce((sum, { files }) => sum + files.length, 0);
      changed();
      work();
    },
    /** Gives up what is not answered yet, and tells the requests at work. */
    stop() {
      stopping.abort();
      stopping = new AbortController();
      [waiting, running] = [[], 0];
      counts.all = counts.done;
      changed();
    },
    /** Sends jobs once more that had no answer. */
    again(jobs) {
      for (const job of jobs.filter(({ counted }) => counted)) {
        counts.done -= job.files.length;
        counts.all -= job.files.length;
        job.counted = false;
      }
      this.add(jobs);
    },
    clear() {
      this.stop();
      counts = { done: 0, all: 0 };
    },
  };
}
