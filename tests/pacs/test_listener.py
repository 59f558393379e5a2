"""Images arrive over a real network: what is acknowledged is never lost, what is said is right."""

import importlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    JPEGLossless,
    JPEGLosslessSV1,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification

from dicom_files import PATIENT, lossless_jpeg, write_encapsulated, write_series
from dicom_network import (
    archive,
    ask,
    listening,
    orthanc,
    receiver,
    referred,
    series,
    store,
    wait_for,
    written,
)
from processes import COMMAND, free_port
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.errors import DataError, MissingExtraError
from tumorscope.inference import Classifier
from tumorscope.pacs.answering import Answering, Delivery
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.sending import Peer, SendError, send
from tumorscope.pacs.spool import Spool
from tumorscope.pacs.stow import DicomWebServer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small.onnx", sharpness=60.0)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model, threads=1)


def test_series_are_answered_and_the_log_names_nobody(tmp_path: Path, model: Path) -> None:
    first, second = series(tmp_path / "a"), series(tmp_path / "b", seed=2)
    with listening(tmp_path, model, "--allow", "SCANNER") as running:
        assert store(running.port, first + second) == [0] * 8
        wait_for(lambda: len(written(tmp_path / "out")) == 4)
        wait_for(lambda: not list((tmp_path / "spool" / "ready").iterdir()))
        assert running.stop() == 0
    assert referred(tmp_path / "out") == {item.SOPInstanceUID for item in first + second}
    log = running.log.read_text()
    assert "kept 8 objects from 'SCANNER'" in log
    assert "Research use only" in log
    for text in (*PATIENT.values(), "1.2.826", "glioma", "uncertain"):
        assert len(text) == 1 or text not in log
    names = [str(path) for path in (tmp_path / "spool").rglob("*")]
    assert not [name for name in names if "Mustermann" in name or "1.2.826" in name]


@pytest.mark.parametrize("before", [0, 2, 4])
def test_killed_while_receiving_loses_nothing_acknowledged(
    tmp_path: Path, model: Path, before: int
) -> None:
    images = series(tmp_path / "in", size=400)  # (Each takes twenty messages.)
    with listening(tmp_path, model, quiet=60) as running:

        def kill(number: int, message: int) -> None:
            if (number, message) == (before, 10):
                running.process.send_signal(signal.SIGKILL)
                running.process.wait()

        statuses = store(running.port, images, after_sending=kill)
        running.process.kill()
        running.process.wait()
    assert statuses == [0] * before + [None] * (4 - before)
    assert not (tmp_path / "out").exists()
    with listening(tmp_path, model) as running:
        if before < 4:  # What was not acknowledged is sent again, as senders do.
            assert store(running.port, images[before:]) == [0] * (4 - before)
        everything = {image.SOPInstanceUID for image in images}
        wait_for(lambda: referred(tmp_path / "out") == everything)
        wait_for(lambda: not list((tmp_path / "spool" / "ready").iterdir()))
        assert running.stop() == 0
    assert list((tmp_path / "spool" / "arriving").iterdir()) == []
    assert list((tmp_path / "spool" / "failed").iterdir()) == []


def test_stopped_in_order_keeps_what_waits(tmp_path: Path, model: Path) -> None:
    images = series(tmp_path / "in")
    with listening(tmp_path, model, quiet=60) as running:
        assert store(running.port, images) == [0] * 4
        assert running.stop() == 0
    assert len(list((tmp_path / "spool" / "arriving").rglob("*.dcm"))) == 4
    assert "Traceback" not in running.log.read_text()


def test_deidentified_answers_name_nobody(tmp_path: Path, model: Path) -> None:
    images = series(tmp_path / "in")
    with listening(tmp_path, model, "--deidentify") as running:
        store(running.port, images)
        wait_for(lambda: len(written(tmp_path / "out")) == 2)
        assert running.stop() == 0
    (study,) = (tmp_path / "out").iterdir()
    assert study.name != images[0].StudyInstanceUID
    assert PATIENT["PatientName"] not in {str(made.PatientName) for made in written(study)}


def test_answers_are_sent_on_when_the_peer_is_there_at_last(
    tmp_path: Path, classifier: Classifier
) -> None:
    port = free_port()
    with receiver(tmp_path / "spool") as (spool, own):
        images = series(tmp_path / "in")
        assert store(own, images) == [0] * 4
        worker = Answering(
            spool,
            classifier,
            Delivery(peer=Peer("PACS", "127.0.0.1", port)),
            ListenerMetrics(),
            quiet=0.0,
            pause=0.2,
        )
        worker.start()
        try:
            (waiting,) = wait_for(
                lambda: list((tmp_path / "spool" / "ready").glob("*/answers/report.dcm"))
            )
            before = waiting.read_bytes()
            with archive(port) as (_, got):
                wait_for(lambda: len(got) == 2)
                wait_for(lambda: spool.jobs() == [])
        finally:
            worker.stop()
    assert {item.Modality for item in got} == {"SR", "OT"}
    assert {item.StudyInstanceUID for item in got} == {images[0].StudyInstanceUID}
    (report,) = (item for item in got if item.Modality == "SR")
    assert report.SOPInstanceUID.encode() in before  # (It was made once, not again.)


def test_echo_and_who_may_call_whom(tmp_path: Path) -> None:
    with receiver(tmp_path / "spool", allowed=["SCANNER"]) as (_, port):
        for calling, called, welcome in (
            ("SCANNER", "TUMORSCOPE", True),
            ("STRANGER", "TUMORSCOPE", False),
            ("SCANNER", "ELSEWHERE", False),
        ):
            caller = AE(ae_title=calling)
            caller.add_requested_context(Verification)
            association = caller.associate("127.0.0.1", port, ae_title=called)
            assert association.is_established is welcome
            if welcome:
                assert association.send_c_echo().Status == 0
                association.release()


def test_only_mr_images_are_taken(tmp_path: Path) -> None:
    with receiver(tmp_path / "spool") as (_, port):
        caller = AE(ae_title="SCANNER")
        for kind in (MRImageStorage, CTImageStorage, SecondaryCaptureImageStorage):
            caller.add_requested_context(kind)
        association = caller.associate("127.0.0.1", port, ae_title="TUMORSCOPE")
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        association.release()
    assert accepted == {str(MRImageStorage)}


def test_compressed_images_are_kept_as_they_are(tmp_path: Path, classifier: Classifier) -> None:
    (image,) = series(tmp_path / "in", count=1)
    facts = {item.keyword: item.value for item in image if item.VR not in ("OW", "US", "OB")}
    code = lossless_jpeg(image.pixel_array, precision=16)
    path = write_encapsulated(
        tmp_path / "c.dcm", image.pixel_array, JPEGLosslessSV1, [code], **facts
    )
    with receiver(tmp_path / "spool") as (_, port):
        assert store(port, [dcmread(path)]) == [0]
    (kept,) = (tmp_path / "spool" / "arriving").rglob("*.dcm")
    assert np.array_equal(
        [item.probability for item in classifier.predict(kept)],
        [item.probability for item in classifier.predict(tmp_path / "in")],
    )


def test_lossless_jpeg_with_another_predictor_is_refused_and_not_acknowledged(
    tmp_path: Path,
) -> None:
    (image,) = series(tmp_path / "in", count=1)
    facts = {item.keyword: item.value for item in image if item.VR not in ("OW", "US", "OB")}
    sent = []
    for predictor in (4, 1):
        code = lossless_jpeg(image.pixel_array, precision=16, predictor=predictor)
        path = tmp_path / f"{predictor}.dcm"
        write_encapsulated(path, image.pixel_array, JPEGLossless, [code], **facts)
        sent.append(dcmread(path))
    with receiver(tmp_path / "spool") as (_, port):
        assert store(port, sent) == [0xC122, 0]


def test_what_cannot_be_kept_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write_series(tmp_path / "in", count=1)
    image, nameless = dcmread(path), dcmread(path)
    with receiver(tmp_path / "spool") as (_, port):
        del nameless.SeriesInstanceUID
        assert store(port, [nameless]) == [0xA900]
        content = path.read_bytes()
        begin = content.index(b"\x08\x00\x16\x00")
        (tmp_path / "garbage.dcm").write_bytes(content[:begin] + b"\x08\x00garbage" * 9)
        monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)  # (as it is)
        sender = AE(ae_title="SCANNER")
        sender.add_requested_context(MRImageStorage, image.file_meta.TransferSyntaxUID)
        association = sender.associate("127.0.0.1", port, ae_title="TUMORSCOPE")
        assert association.send_c_store(tmp_path / "garbage.dcm").Status in (0xA900, 0xC000)
        association.release()
        shutil.rmtree(tmp_path / "spool" / "arriving")
        (tmp_path / "spool" / "arriving").write_text("in the way")
        assert store(port, [image]) == [0xA700]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    monkeypatch.delitem(sys.modules, "tumorscope.pacs")
    with pytest.raises(MissingExtraError, match=r"'pynetdicom'.*tumorscope\[dicom\]"):
        importlib.import_module("tumorscope.pacs")


def test_names_of_objects_lead_nowhere_else(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep(b"x", series="../../series", instance="../../../instance")
    spool.close()
    (path,) = tmp_path.rglob("*.dcm")
    assert path.parents[1] == tmp_path / "spool" / "arriving"
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_unreadable_images_are_set_aside(tmp_path: Path, classifier: Classifier) -> None:
    paths = write_series(tmp_path / "in")
    whole, broken = [path.read_bytes() for path in paths], paths[0].read_bytes()[:3000]
    spool = Spool(tmp_path / "spool")
    for number, content in enumerate([*whole[1:], broken]):
        spool.keep(content, series="first", instance=str(number))
    spool.keep(broken, series="second", instance="0")
    worker = Answering(
        spool, classifier, Delivery(folder=tmp_path / "out"), ListenerMetrics(), quiet=0.0
    )
    worker.start()
    reasons = wait_for(
        lambda: (
            len(found := list((tmp_path / "spool" / "failed").glob("*/reason.txt"))) == 2
            and spool.jobs() == []
            and found
        )
    )
    worker.stop()
    spool.close()
    assert all("damaged" in path.read_text() for path in reasons)
    assert len(list((tmp_path / "spool" / "failed").rglob("*.dcm"))) == 2
    assert len(referred(tmp_path / "out")) == 3


def test_a_folder_that_cannot_be_written_is_tried_again(
    tmp_path: Path, classifier: Classifier
) -> None:
    (tmp_path / "out").write_text("in the way")
    spool = Spool(tmp_path / "spool")
    for path in write_series(tmp_path / "in", count=1):
        spool.keep(path.read_bytes(), series="s", instance=path.name)
    worker = Answering(
        spool,
        classifier,
        Delivery(folder=tmp_path / "out"),
        ListenerMetrics(),
        quiet=0.0,
        pause=0.1,
    )
    worker.start()
    wait_for(lambda: list((tmp_path / "spool" / "ready").glob("*/answers")))
    (tmp_path / "out").unlink()
    wait_for(lambda: spool.jobs() == [])
    worker.stop()
    spool.close()
    assert len(written(tmp_path / "out")) == 2


def test_a_receiver_that_is_away_keeps_nothing_from_the_others(
    tmp_path: Path, classifier: Classifier
) -> None:
    images = series(tmp_path / "in")
    spool, port = Spool(tmp_path / "spool"), free_port()
    for path in (tmp_path / "in").iterdir():
        spool.keep(path.read_bytes(), series="s", instance=path.name)
    taking = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
    if not Path(taking).exists():
        pytest.skip("Orthanc's DICOMweb is not installed (Debian: orthanc-dicomweb)")
    with orthanc(tmp_path, Plugins=[taking], DicomServerEnabled=False) as web:
        delivery = Delivery(
            peer=Peer("PACS", "127.0.0.1", port),
            web=DicomWebServer(url=f"http://127.0.0.1:{web}/dicom-web"),
        )
        worker = Answering(spool, classifier, delivery, ListenerMetrics(), quiet=0.0, pause=0.0)
        worker.answer_quiet()
        (study,) = json.loads(ask(web, "/studies?expand"))
        assert study["MainDicomTags"]["StudyInstanceUID"] == images[0].StudyInstanceUID
        assert len(spool.jobs()) == 1  # (The peer has nothing yet.)
    with archive(port) as (_, got):  # (The web server is away now: it has its own already.)
        worker.answer_quiet()
    assert len(got) == 2
    assert spool.jobs() == []
    spool.close()


def test_a_spool_takes_up_what_was_left_half_done(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    with pytest.raises(DataError, match="another tumorscope listen"):
        Spool(folder)
    spool.keep(b"whole", series="s", instance="i")
    key = spool.key()
    spool.close()
    (series_folder,) = (folder / "arriving").iterdir()
    (series_folder / ".half.dcm").write_bytes(b"ha")
    (folder / "arriving" / "empty").mkdir()
    (folder / "arriving" / "empty" / ".half.dcm").write_bytes(b"ha")
    (folder / "ready" / "delivered-1" / "done").mkdir(parents=True)
    spool = Spool(folder)
    assert spool.key() == key
    assert [path.name for path in (folder / "ready").iterdir()] == []
    assert [path.read_bytes() for path in (folder / "arriving").rglob("*.dcm")] == [b"whole"]
    spool.take_quiet(0)
    (job,) = spool.jobs()
    failed = spool.set_aside_files(job, {str(job.images[0]): "broken"})
    assert spool.set_aside(job, "nothing left") == failed / "rest"
    spool.close()


def test_peers_that_refuse_are_told_apart(tmp_path: Path) -> None:
    (image,) = write_series(tmp_path / "in", count=1)
    with pytest.raises(SendError, match="cannot be reached"):
        send([image], Peer("PACS", "127.0.0.1", free_port()), title="X")
    with archive() as (port, _), pytest.raises(SendError, match="of this kind"):
        send([image], Peer("PACS", "127.0.0.1", port), title="X")
    report = dcmread(image)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.save_as(tmp_path / "r.dcm")
    for status, words in ((0xA700, "A700"), (0xB000, ""), (None, "connection broke")):
        entity = AE(ae_title="PACS")
        entity.add_supported_context(ComprehensiveSRStorage)

        def answer(event: evt.Event, status: int | None = status) -> int:
            if status is None:
                event.assoc.abort()
            return status or 0

        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)]
        )
        assert server is not None
        peer = Peer("PACS", "127.0.0.1", server.server_address[1])
        if words:
            with pytest.raises(SendError, match=words):
                send([tmp_path / "r.dcm"], peer, title="X")
        else:
            send([tmp_path / "r.dcm"], peer, title="X")
        entity.shutdown()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the answers go nowhere"),
        (["--out", "o", "--aet", "much too long a title"], "no AE title"),
        (["--out", "o", "--allow", "back\\slash"], "no AE title"),
        (["--out", "o", "--port", "70000"], "no port"),
        (["--out", "o", "--quiet", "-1"], "--quiet"),
        (["--out", "o", "--patience", "nan"], "--patience"),
        (["--out", "o", "--metrics-port", "70000"], "no port"),
        (["--out", "o", "--tls-cert", "c.pem"], "belong together"),
        (["--out", "o", "--tls-send"], "needs both"),
        (["--out", "o", "--tls-ca", "ca.pem"], "--tls-ca goes with"),
        (["--out", "o", "--token-file", "t"], "--token-file is for STOW-RS"),
        (["--out", "o", "--commit-to", "SCANNER"], "no receiver"),
        (["--stow-to", "pacs.example"], "no DICOMweb server"),
        (["--send-to", "host:104"], "no receiver"),
        (["--send-to", "PACS@host:99999"], "no receiver"),
    ],
)
def test_arguments_that_make_no_sense(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port", "--stow-port", "--metrics-port"])
def test_a_port_that_is_taken_ends_the_command(tmp_path: Path, model: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        words = [*COMMAND, "listen", "--out", str(tmp_path), "--spool", str(tmp_path / "spool")]
        ports = [*(["--port", "0"] if option != "--port" else []), option, number]
        command = [*words, "--model", str(model), *ports]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"port {number} (Address already in use): choose another {option}" in done.stderr


def test_an_open_port_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["listen", "--out", str(tmp_path), "--model", str(tmp_path / "none.onnx")]
    assert main([*words, "--host", "0.0.0.0"]) == 2
    assert "--allow" in capsys.readouterr().err
    # An authority vouches for callers by TLS only, which needs a certificate of one's own.
    words += ["--stow-to", "http://pacs.example", "--tls-ca", "ca.pem"]
    assert main([*words, "--host", "0.0.0.0"]) == 2
    assert "--allow" in capsys.readouterr().err
    for safe in (["--host", "localhost"], ["--host", "0.0.0.0", "--allow", "A"]):
        assert main([*words, *safe]) == 2
        assert "--allow" not in capsys.readouterr().err


def test_storescu_sends_a_series(tmp_path: Path, model: Path) -> None:
    storescu = shutil.which("storescu")
    if not storescu:
        pytest.skip("storescu is not installed (Debian: dcmtk)")
    images = series(tmp_path / "in")
    with listening(tmp_path, model) as running:
        # Both DCMTK's and pynetdicom's take this.
        command = [storescu, "-aec", "TUMORSCOPE", "127.0.0.1", str(running.port)]
        subprocess.run([*command, *(tmp_path / "in").iterdir()], check=True, timeout=30)
        wait_for(lambda: len(written(tmp_path / "out")) == 2)
        assert running.stop() == 0
    assert referred(tmp_path / "out") == {image.SOPInstanceUID for image in images}


def test_orthanc_sends_a_series_and_gets_the_answers(tmp_path: Path, model: Path) -> None:
    """A real archive: images are put in, sent to the listener, answers appear in the study."""
    port = free_port()
    images = series(tmp_path / "in")
    send_to = ["--send-to", f"ORTHANC@127.0.0.1:{port}"]
    with listening(tmp_path, model, *send_to, "--allow", "ORTHANC") as running:
        modality = ["TUMORSCOPE", "127.0.0.1", running.port]
        known = {"DicomPort": port, "DicomModalities": {"tumorscope": modality}}
        with orthanc(tmp_path, **known) as web:
            for path in (tmp_path / "in").iterdir():
                ask(web, "/instances", path.read_bytes())
            (study,) = json.loads(ask(web, "/studies"))
            ask(web, "/modalities/tumorscope/store", study.encode())
            found = wait_for(
                lambda: (
                    len(all_ := json.loads(ask(web, f"/studies/{study}/instances"))) == 6 and all_
                )
            )
            made = []
            for item in found:
                path = tmp_path / "back" / f"{item['ID']}.dcm"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(ask(web, f"/instances/{item['ID']}/file"))
                made.append((path, dcmread(path)))
            assert running.stop() == 0
    kinds = [item.Modality for _, item in made]
    assert sorted(kinds) == ["MR"] * 4 + ["OT", "SR"]
    assert {item.StudyInstanceUID for _, item in made} == {images[0].StudyInstanceUID}
    checker = shutil.which("dciodvfy")
    for path, item in made if checker else []:
        if item.Modality != "MR":
            done = subprocess.run([str(checker), str(path)], capture_output=True, check=False)
            assert b"Error" not in done.stdout + done.stderr
