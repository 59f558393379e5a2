"""Part of a series is never answered as if it were the whole."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE

from dicom_files import PATIENT
from dicom_network import receiver, series, store, wait_for, written
from small_model import write_model
from tumorscope.inference import Classifier
from tumorscope.pacs.answering import Answering, Delivery
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.objects import write_objects
from tumorscope.pacs.series_gaps import missing_images
from tumorscope.pacs.spool import Spool

HOURS = 7200.0


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = write_model(tmp_path_factory.mktemp("model") / "small.onnx", sharpness=60.0)
    return Classifier.load(path, threads=1)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[Spool, int]]:
    with receiver(tmp_path / "spool") as kept:
        yield kept


def answer(spool: Spool, classifier: Classifier, out: Path, *, patience: float) -> list[Dataset]:
    """Answer what waits; the reports that are there then, the first version first."""
    delivery = Delivery(folder=out)
    metrics = ListenerMetrics()
    Answering(spool, classifier, delivery, metrics, quiet=0.0, patience=patience).answer_quiet()
    reports = [item for item in written(out) if item.Modality == "SR"]
    return sorted(reports, key=lambda report: int(report.InstanceNumber))


def conclusion(report: Dataset) -> str:
    (texts,) = (
        item.ContentSequence
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    )
    return str(texts[0].TextValue)


def break_off(port: int, images: list[Dataset]) -> None:
    """Send images and abort the association."""
    sender = AE(ae_title="SCANNER")
    sender.add_requested_context(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", port, ae_title="TUMORSCOPE")
    for image in images:
        assert association.send_c_store(image).Status == 0
    association.abort()


def test_a_series_with_a_gap_waits_and_is_marked_and_superseded(
    tmp_path: Path, kept: tuple[Spool, int], classifier: Classifier
) -> None:
    spool, port = kept
    images, out = series(tmp_path / "in"), tmp_path / "out"
    assert store(port, [images[0], images[3]]) == [0, 0]
    assert answer(spool, classifier, out, patience=HOURS) == []
    (first,) = answer(spool, classifier, out, patience=0.0)
    assert first.CompletionFlag == "PARTIAL"
    assert first.CompletionFlagDescription == "instance numbers 2 to 3 are missing"
    assert "uncertain" in conclusion(first)
    assert "the series is incomplete (instance numbers 2 to 3 are missing)" in conclusion(first)

    assert store(port, images[1:3]) == [0, 0]  # (Only what was missing.)
    before, after = answer(spool, classifier, out, patience=HOURS)
    assert before.SOPInstanceUID == first.SOPInstanceUID
    assert after.CompletionFlag == "COMPLETE"
    assert "4 slices" in conclusion(after)
    assert "incomplete" not in conclusion(after)
    assert after.SeriesInstanceUID == first.SeriesInstanceUID
    (study,) = after.PredecessorDocumentsSequence
    (named,) = study.ReferencedSeriesSequence
    assert named.SeriesInstanceUID == first.SeriesInstanceUID
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID

    assert store(port, images) == [0] * 4  # The same once more says nothing new.
    assert len(answer(spool, classifier, out, patience=HOURS)) == 2


def test_a_transfer_that_was_broken_off_is_no_whole_series(
    tmp_path: Path, kept: tuple[Spool, int], classifier: Classifier
) -> None:
    spool, port = kept
    images, out = series(tmp_path / "in"), tmp_path / "out"
    break_off(port, images[:3])  # (What lacks at the end no number tells.)
    unfinished = tmp_path / "spool" / "unfinished"
    wait_for(lambda: not any(spool._senders.values()))
    assert answer(spool, classifier, out, patience=HOURS) == []
    assert store(port, images) == [0] * 4
    wait_for(lambda: not any(unfinished.iterdir()))
    (report,) = answer(spool, classifier, out, patience=HOURS)
    assert report.CompletionFlag == "COMPLETE"


def test_a_transfer_that_a_restart_broke_off_is_known_after_it(
    tmp_path: Path, classifier: Classifier
) -> None:
    paths = sorted((tmp_path / "in").glob("*")) if series(tmp_path / "in") else []
    spool = Spool(tmp_path / "spool")
    spool.keep(paths[0].read_bytes(), series="s", instance="1", sender=1)
    spool.close()
    spool = Spool(tmp_path / "spool")
    assert answer(spool, classifier, tmp_path / "out", patience=HOURS) == []
    (report,) = answer(spool, classifier, tmp_path / "out", patience=0.0)
    assert "the transfer was broken off" in conclusion(report)
    spool.close()


def test_images_refused_by_a_full_disk_make_a_series_incomplete(
    tmp_path: Path,
    classifier: Classifier,
    small_disk: Callable[[int], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    images, out = series(tmp_path / "in", size=256), tmp_path / "out"
    disk = small_disk(400_000)
    with receiver(disk / "spool") as (spool, port):
        statuses = store(port, images)
        assert statuses == [0, 0, 0xA700, 0xA700]
        assert "No space left on device" in caplog.text
        assert answer(spool, classifier, out, patience=HOURS) == []
        small_disk(4_000_000)
        (first,) = answer(spool, classifier, out, patience=0.0)
        assert first.CompletionFlagDescription == "2 images were refused"
        assert store(port, images[2:]) == [0, 0]
        wait_for(lambda: not any((disk / "spool" / "unfinished").iterdir()))
        assert len(answer(spool, classifier, out, patience=HOURS)) == 2


def test_a_full_disk_is_named_when_answers_are_written(
    tmp_path: Path,
    kept: tuple[Spool, int],
    classifier: Classifier,
    small_disk: Callable[[int], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool, port = kept
    store(port, series(tmp_path / "in"))
    with caplog.at_level(logging.WARNING, "tumorscope"):
        out = small_disk(20_000)
        answer(spool, classifier, out, patience=0.0)
    assert "not delivered (No space left on device)" in caplog.text


def test_the_log_counts_each_senders_objects(
    tmp_path: Path, kept: tuple[Spool, int], caplog: pytest.LogCaptureFixture
) -> None:
    _, port = kept
    many, few = series(tmp_path / "a"), series(tmp_path / "b", seed=2)
    together = threading.Barrier(2, timeout=20)

    def meet(number: int, message: int) -> None:
        if message == 1 and number in (0, 1):
            together.wait()

    def send(images: list[Dataset], name: str) -> None:
        store(port, images, calling=name, after_sending=meet)

    with caplog.at_level(logging.INFO, "tumorscope"):
        threads = [
            threading.Thread(target=send, args=what) for what in ((many, "A"), (few[:2], "B"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: caplog.text.count("kept") == 2)
    assert "kept 4 objects from 'A'" in caplog.text
    assert "kept 2 objects from 'B'" in caplog.text
    assert not [text for text in PATIENT.values() if len(text) > 1 and text in caplog.text]


def test_answered_series_are_forgotten_in_time(
    tmp_path: Path, kept: tuple[Spool, int], classifier: Classifier
) -> None:
    spool, port = kept
    store(port, series(tmp_path / "in"))
    assert len(answer(spool, classifier, tmp_path / "out", patience=0.0)) == 1
    answered = tmp_path / "spool" / "answered"
    assert len(list(answered.glob("*/images/*.dcm"))) == 4
    spool.forget(HOURS)
    assert any(answered.iterdir())
    spool.forget(-1.0)
    assert not any(answered.iterdir())


def test_a_job_that_was_half_put_away_is_put_away_at_the_next_start(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((tmp_path / "in").glob("*")) if series(tmp_path / "in") else []
    spool = Spool(tmp_path / "spool")
    for path in paths:
        spool.keep(path.read_bytes(), series="s", instance=path.name)
    monkeypatch.setattr(spool, "_put_away", lambda _: None)  # (The power fails here.)
    answer(spool, classifier, tmp_path / "out", patience=0.0)
    spool.close()
    spool = Spool(tmp_path / "spool")
    spool.close()
    assert not any((tmp_path / "spool" / "ready").iterdir())
    (answered,) = (tmp_path / "spool" / "answered").iterdir()
    assert len(list((answered / "images").iterdir())) == 4
    assert len(list((answered / "answers").rglob("*.dcm"))) == 2


def test_images_that_cannot_be_read_make_a_series_incomplete(
    tmp_path: Path, kept: tuple[Spool, int], classifier: Classifier
) -> None:
    spool, port = kept
    images = series(tmp_path / "in")
    for image in images[1:3]:
        image.PixelData = image.PixelData[:100]
    assert store(port, images) == [0, 0, 0, 0]
    (report,) = answer(spool, classifier, tmp_path / "out", patience=0.0)
    assert report.CompletionFlag == "PARTIAL"
    assert report.CompletionFlagDescription == "2 images cannot be read"
    assert "uncertain" in conclusion(report)


def test_predict_says_of_a_part_what_the_listener_says(
    tmp_path: Path, classifier: Classifier
) -> None:
    images = series(tmp_path / "in")
    paths = sorted((tmp_path / "in").iterdir())
    paths[1].unlink()
    assert len(images) == 4
    written_, refused = write_objects(
        classifier.predict(tmp_path / "in"), tmp_path / "out", classifier
    )
    (report,) = (item for item in map(dcmread, written_) if item.Modality == "SR")
    assert refused == []
    assert report.CompletionFlag == "PARTIAL"
    assert report.CompletionFlagDescription == "instance number 2 is missing"


def test_one_sender_that_ends_well_does_not_speak_for_another(tmp_path: Path) -> None:
    """Archives send a series over several associations at once."""
    spool = Spool(tmp_path / "spool")
    for sender in (1, 2):
        spool.keep(b"x", series="s", instance=str(sender), sender=sender)
    spool.end(2, ["s"], well=True)
    spool.end(1, ["s"], well=False)
    spool.take_quiet(0.0, HOURS)
    assert spool.jobs() == []
    spool.keep(b"x", series="s", instance="1", sender=3)
    spool.end(3, ["s"], well=True)
    spool.take_quiet(0.0, HOURS)
    assert [job.incomplete for job in spool.jobs()] == [""]
    spool.close()


def test_a_damaged_number_of_frames_holds_nobody_up(tmp_path: Path) -> None:
    image = series(tmp_path / "in")[0]
    image.NumberOfFrames = 2_000_000_000
    image.save_as(tmp_path / "odd.dcm")
    assert missing_images([tmp_path / "odd.dcm"]) == ""
