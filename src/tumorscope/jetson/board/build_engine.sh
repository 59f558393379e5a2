#!/usr/bin/env bash
# Builds model.engine from model.onnx on this board; build_engine.log keeps what TensorRT said.
#   ./build_engine.sh               on the board that the bundle was made for
#   ./build_engine.sh --any-board   on another machine with TensorRT
set -euo pipefail
cd "$(dirname "$0")"

complain() { echo "build_engine.sh: $*" >&2; exit 2; }

python=${PYTHON:-python3}
log=build_engine.log
# The Jetson Nano's 4 GB are the processor's, too.
workspace=$(sed -n 's/.*"workspace_mib": *\([0-9]*\).*/\1/p' model.json 2>/dev/null || true)
precision=$(sed -n 's/.*"precision": *"\([a-z0-9]*\)".*/\1/p' model.json 2>/dev/null || true)

"$python" -m tumorscope.jetson.board.engine check "$@" || exit 2

trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
[ -x "$trtexec" ] || complain "no TensorRT here: trtexec is neither on the PATH nor $trtexec; JetPack brings it"

# Which options there are differs by version: 8.4 renamed the one for memory, 8.6 the one for not timing, 10 takes
# the file's own types if told, 11 takes nothing else and has no options for precision any more.
help=$("$trtexec" --help 2>&1 || true)
options=(--onnx=model.onnx --saveEngine=model.engine.part --timingCacheFile=timing.cache)
case $help in
  *--memPoolSize*) options+=("--memPoolSize=workspace:${workspace:-512}") ;;
  *) options+=("--workspace=${workspace:-512}") ;;
esac
case $help in
  *--skipInference*) options+=(--skipInference) ;;
  *) options+=(--buildOnly) ;;
esac

if [ "$precision" != fp32 ] && [[ $help == *--stronglyTyped* ]]; then
  options+=(--stronglyTyped)
elif [[ $help == *--fp16* ]]; then
  options+=(--fp16)
  [ "$precision" != int8 ] || options+=(--int8)
fi

trap 'rm -f model.engine.part' EXIT
rm -f model.engine model.engine.json
echo "building model.engine: takes some minutes on a Jetson Nano, $log says how far it is"
if ! "$trtexec" "${options[@]}" >"$log" 2>&1 || [ ! -s model.engine.part ]; then
  complain "TensorRT could not build the engine, see $log: $(grep -iE 'error|space|memory' "$log" | tail -n 1)"
fi
mv model.engine.part model.engine
"$python" -m tumorscope.jetson.board.engine describe || exit 2
echo "model.engine is ready: now run  $python verify.py"
