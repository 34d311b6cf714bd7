from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import FrameError, InputError, Skipped, SourceError
from edgeproof_runtime.live.outcomes import Lost
from edgeproof_runtime.live.pipeline import Pipeline, Worker
from edgeproof_runtime.live.signals import stop_on_interrupt
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.metrics.latency import STAGES
from edgeproof_runtime.sources import Frame, Source, open_source


class Numbered(Source):
    """Frames whose only pixel is their index; optionally paced, failing or hanging."""

    def __init__(
        self,
        frames: int,
        *,
        live: bool = False,
        before: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__("numbered", live=live, fps=None, frame_count=None if live else frames)
        self.frames = frames
        self.before = before

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            begin = time.monotonic_ns()
            self.before(index)
            now = time.monotonic_ns()
            image = np.full((1, 1, 3), index % 251, np.uint8)
            yield Frame(image, index, f"numbered#{index}", now, (now - begin) / 1e6, 0.0)

    def close(self) -> None:
        pass


class Echo:
    """An engine whose output is its input."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.before = before

    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 1), np.float32)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        self.before(int(batch[0, 0]))
        return (batch.copy(),)


def first_pixel(frame: np.ndarray, out: np.ndarray | None = None) -> None:
    assert out is not None
    out[0] = frame[0, 0, 0]


def value(outputs: tuple[np.ndarray, ...]) -> int:
    return int(outputs[0][0, 0])


class Recorder:
    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, stage: str, ms: float) -> None:
        self.values.setdefault(stage, []).append(ms)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("edgeproof-")] == []


def accounted(pipeline: Pipeline[int]) -> bool:
    counts = pipeline.counts
    return counts.frames_in == counts.decided + counts.dropped + counts.failed


def test_every_frame_is_decided_in_order():
    recorder = Recorder()
    with Pipeline(Numbered(200), [Worker(first_pixel, Echo(), value)], recorder=recorder) as pipeline:
        decisions = [(d.frame.index, d.decision) for d in pipeline]
    assert decisions == [(i, i) for i in range(200)]
    assert pipeline.snapshots()[0].policy == "every-frame"
    assert pipeline.counts.frames_in == pipeline.counts.decided == 200
    assert set(recorder.values) == set(STAGES)
    assert {len(v) for v in recorder.values.values()} == {200}
    assert pipeline.elapsed_s > 0


def test_end_to_end_spans_the_stages_and_the_waiting():
    engine = Echo(lambda _: time.sleep(0.002))
    with Pipeline(Numbered(20, before=lambda _: time.sleep(0.001)), [Worker(first_pixel, engine, value)]) as pipeline:
        for decided in pipeline:
            stages = decided.stages_ms
            parts = sum(stages[s] for s in ("capture", "decode", "preprocess", "inference", "postprocess"))
            assert stages["end_to_end"] >= parts
            assert stages["frame_age"] == pytest.approx(stages["end_to_end"] - stages["capture"])
            assert stages["inference"] >= 2
            assert stages["capture"] >= 1


def test_capture_and_workers_overlap():
    captured, others = threading.Semaphore(0), threading.Semaphore(0)

    def infer(index: int) -> None:
        # Frame 0 is inferred only once two later frames were captured and the other worker has inferred one.
        if index:
            others.release()
            return
        for semaphore, count in ((captured, 3), (others, 1)):
            for _ in range(count):
                assert semaphore.acquire(timeout=10), "something waits for the inference of an earlier frame"

    source = Numbered(10, before=lambda _: captured.release())
    with Pipeline(source, [Worker(first_pixel, Echo(infer), value) for _ in range(2)]) as pipeline:
        assert [d.decision for d in pipeline] == list(range(10)), "decisions keep the order of the frames"


def test_the_newest_frame_wins_where_the_source_is_live():
    first_is_in = threading.Event()
    go_on = threading.Event()
    lost: list[Lost] = []

    def pace(index: int) -> None:
        if index == 1:
            assert first_is_in.wait(10)
        if index == 99:
            time.sleep(0.05)  # the frames before have settled: one preprocessed, the others replaced

    def infer(index: int) -> None:
        if index == 0:
            first_is_in.set()
            assert go_on.wait(10)

    source = Numbered(100, live=True, before=pace)
    with Pipeline(source, [Worker(first_pixel, Echo(infer), value)], on_lost=lost.append) as pipeline:
        while pipeline.counts.frames_in < 100:
            time.sleep(0.001)
        go_on.set()
        indices = [d.frame.index for d in pipeline]
    assert indices[0] == 0
    assert indices[-1] == 99
    assert indices in ([0, 99], [0, 98, 99])
    assert pipeline.snapshots()[0].policy == "latest-frame"
    assert pipeline.counts.overtaken == 100 - len(indices) == len(lost)
    assert {frame.cause for frame in lost} == {"overtaken"}
    assert sorted([frame.index for frame in lost] + indices) == list(range(100))


@pytest.mark.serial
def test_a_slow_engine_does_not_let_frames_age():
    # A camera at 500 frames/s and an engine at 50: a queue of all frames would age by 18 ms every 20 ms.
    source = Numbered(300, live=True, before=lambda _: time.sleep(0.002))
    with Pipeline(source, [Worker(first_pixel, Echo(lambda _: time.sleep(0.02)), value)]) as pipeline:
        ages = [d.frame_age_ms for d in pipeline]
    assert accounted(pipeline)
    assert pipeline.counts.dropped > 100
    assert max(ages) < 1000 * pipeline.elapsed_s / 2


@settings(max_examples=30)
@given(
    frames=st.integers(1, 40),
    live=st.booleans(),
    naps_us=st.tuples(*[st.sampled_from([0, 0, 50, 400])] * 4),
    bad=st.sets(st.integers(0, 39), max_size=5),
    max_frames=st.none() | st.integers(1, 50),
    leave_after=st.none() | st.integers(1, 40),
    workers=st.integers(1, 3),
    max_batch=st.integers(1, 3),
)
@pytest.mark.slow
def test_every_frame_is_accounted_for(frames, live, naps_us, bad, max_frames, leave_after, workers, max_batch):
    capture_s, preprocess_s, infer_s, consume_s = (us / 1e6 for us in naps_us)

    def preprocess(frame: np.ndarray, out: np.ndarray | None = None) -> None:
        time.sleep(preprocess_s)
        if int(frame[0, 0, 0]) in bad:
            raise FrameError("the frame is bad")
        first_pixel(frame, out)

    lost: list[Lost] = []
    source = Numbered(frames, live=live, before=lambda _: time.sleep(capture_s))
    engine = Echo(lambda _: time.sleep(infer_s))
    seen = []
    stream = Stream.of(source, max_frames=max_frames)
    models = [Worker(preprocess, engine, value) for _ in range(workers)]
    with Pipeline(stream, models, on_lost=lost.append, max_batch=max_batch) as pipeline:
        for decided in pipeline:
            assert decided.decision == decided.frame.index
            seen.append(decided.frame.index)
            time.sleep(consume_s)
            if len(seen) == leave_after:
                break
    counts = pipeline.counts
    assert accounted(pipeline)
    assert counts.decided == len(seen)
    assert counts.dropped + counts.failed == len(lost)
    assert sorted(seen + [frame.index for frame in lost]) == list(range(counts.frames_in))
    assert seen == sorted(seen)
    assert not bad & set(seen)
    assert counts.failed == len(pipeline.failed) == sum(frame.cause == "failed" for frame in lost)
    if leave_after is None:
        assert counts.frames_in == min(frames, max_frames or frames)
        assert counts.stopped == 0
        if not live:
            assert counts.dropped == 0


def test_a_frame_the_contract_refuses_fails_alone_and_by_name():
    def preprocess(frame: np.ndarray, out: np.ndarray | None = None) -> None:
        if frame[0, 0, 0] == 3:
            raise FrameError("the frame is too thin", got="1x4000 pixels")
        first_pixel(frame, out)

    with Pipeline(Numbered(6), [Worker(preprocess, Echo(), value)]) as pipeline:
        assert [d.decision for d in pipeline] == [0, 1, 2, 4, 5]
    assert pipeline.failed == [Skipped("numbered#3", "the frame is too thin; got: 1x4000 pixels")]


def raise_from(index: int, error: Exception) -> Callable[[int], None]:
    def check(at: int) -> None:
        if at >= index:
            raise error

    return check


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("stage", ["source", "preprocess", "engine", "head"])
def test_an_error_in_any_thread_reaches_the_caller(stage, live):
    error = InputError(f"{stage} broke")
    check = raise_from(5, error)
    nothing: Callable[[int], None] = lambda _: None  # noqa: E731

    def preprocess(frame: np.ndarray, out: np.ndarray | None = None) -> None:
        if stage == "preprocess":
            check(int(frame[0, 0, 0]))
        first_pixel(frame, out)

    def head(outputs: tuple[np.ndarray, ...]) -> int:
        if stage == "head":
            check(value(outputs))
        return value(outputs)

    def pace(index: int) -> None:
        if live:
            time.sleep(0.001)
        if stage == "source":
            check(index)

    seen = []
    source = Numbered(100, live=live, before=pace)
    with (
        pytest.raises(InputError, match=f"{stage} broke") as caught,
        Pipeline(source, [Worker(preprocess, Echo(check if stage == "engine" else nothing), head)]) as pipeline,
    ):
        seen.extend(d.decision for d in pipeline)
    assert caught.value is error
    assert accounted(pipeline)
    assert seen == sorted(seen)
    if not live:
        assert seen == [0, 1, 2, 3, 4], "what was decided before the error is not lost"


def test_an_exception_in_the_callers_loop_ends_the_threads():
    pipeline = Pipeline(Numbered(10_000), [Worker(first_pixel, Echo(), value)])

    def caller() -> None:
        with pipeline:
            for decided in pipeline:
                if decided.decision == 7:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        caller()
    assert accounted(pipeline)
    assert pipeline.counts.frames_in < 100


@pytest.mark.parametrize("live", [False, True])
def test_stopping_decides_what_is_under_way(live):
    source = Numbered(10**9, live=live, before=lambda _: time.sleep(0.0005))
    with Pipeline(source, [Worker(first_pixel, Echo(), value)]) as pipeline:
        for seen, _ in enumerate(pipeline, 1):
            if seen == 10:
                pipeline.stop()
    counts = pipeline.counts
    assert accounted(pipeline)
    assert 10 <= counts.decided < 40
    if not live:
        assert counts.dropped == 0


def test_duration():
    source = Numbered(10**9, live=True, before=lambda _: time.sleep(0.001))
    with Pipeline(source, [Worker(first_pixel, Echo(), value)], duration_s=0.1) as pipeline:
        decided = sum(1 for _ in pipeline)
    assert 1 <= decided <= 101
    assert accounted(pipeline)


def test_a_hanging_source_does_not_hang_the_caller(monkeypatch):
    monkeypatch.setattr("edgeproof_runtime.live.pipeline._JOIN_TIMEOUT_S", 0.05)
    unplugged = threading.Event()

    def hang(index: int) -> None:
        if index == 3:
            unplugged.wait(30)

    with Pipeline(
        Numbered(10, live=True, before=hang), [Worker(first_pixel, Echo(), value)], duration_s=0.1
    ) as pipeline:
        for _ in pipeline:
            pass
    assert pipeline.counts.frames_in == 3
    assert accounted(pipeline)
    unplugged.set()
    for thread in threading.enumerate():
        if thread.name.startswith("edgeproof-capture"):
            thread.join(5)
    assert pipeline.counts.frames_in == 3, "a frame after the end is no frame"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_end_in_good_order(number):
    source = Numbered(10**9, before=lambda _: time.sleep(0.0005))
    before = signal.getsignal(number)
    with Pipeline(source, [Worker(first_pixel, Echo(), value)]) as pipeline, stop_on_interrupt(pipeline):
        for decided in pipeline:
            if decided.decision == 5 and decided.frame.index == 5:
                signal.raise_signal(number)
    assert accounted(pipeline)
    assert pipeline.counts.dropped == 0
    assert signal.getsignal(number) is before


def test_a_hang_up_ends_in_good_order_however_often_it_comes():
    source = Numbered(10**9, before=lambda _: time.sleep(0.0005))
    before = signal.getsignal(signal.SIGHUP)
    try:
        with Pipeline(source, [Worker(first_pixel, Echo(), value)]) as pipeline, stop_on_interrupt(pipeline):
            for _ in pipeline:
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # a shell repeats it while the report is written
        assert accounted(pipeline)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nohup_is_respected():
    source = Numbered(20)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Pipeline(source, [Worker(first_pixel, Echo(), value)]) as pipeline, stop_on_interrupt(pipeline):
            signal.raise_signal(signal.SIGHUP)
            assert sum(1 for _ in pipeline) == 20
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_interrupt_is_not_held_back():
    source = Numbered(10**9, before=lambda _: time.sleep(0.0005))
    pipeline = Pipeline(source, [Worker(first_pixel, Echo(), value)])

    def caller() -> None:
        with pipeline, stop_on_interrupt(pipeline):
            for _ in pipeline:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        caller()
    assert accounted(pipeline)


def test_a_source_that_gives_nothing_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").write_text("no picture")
    with (
        pytest.raises(SourceError, match=r"no frame\n.*a\.jpg: empty.*b\.jpg"),
        open_source(str(tmp_path)) as source,
        Pipeline(source, [Worker(first_pixel, Echo(), value)]) as pipeline,
    ):
        for _ in pipeline:
            pass


def test_iterating_outside_the_with_block_is_refused():
    with pytest.raises(RuntimeError, match="with block"):
        next(iter(Pipeline(Numbered(1), [Worker(first_pixel, Echo(), value)])))


class Pixels:
    """An engine that gives back the preprocessed picture."""

    def allocate_input(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 3, 32, 32), np.float32)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return (batch.copy(),)


def test_photographs_arrive_as_the_preprocessor_alone_makes_them(tmp_path):
    names = ("chelsea", "coffee", "rocket", "astronaut")
    for name in names:
        cv2.imwrite(str(tmp_path / f"{name}.png"), getattr(skimage.data, name)()[:, :, ::-1])
    preprocessor = Preprocessor(InputContract(resize_size=(36, 36), crop_size=(32, 32)))
    with (
        open_source(str(tmp_path)) as source,
        Pipeline(source, [Worker(preprocessor, Pixels(), lambda outputs: outputs[0][0])]) as pipeline,
    ):
        decided = list(pipeline)
    assert [d.frame.name for d in decided] == sorted(f"{n}.png" for n in names)
    for d in decided:
        np.testing.assert_array_equal(d.decision, preprocessor(d.frame.image))


def test_a_real_clip(data_dir):
    preprocessor = Preprocessor(InputContract(resize="squash", resize_size=(32, 32), crop_size=None, filter="nearest"))
    with (
        open_source(str(data_dir / "videos" / "car-detection.mp4")) as source,
        Pipeline(source, [Worker(preprocessor, Pixels(), lambda outputs: float(outputs[0].mean()))]) as pipeline,
    ):
        means = [d.decision for d in pipeline]
    assert len(means) == 377
    assert pipeline.counts.dropped == pipeline.counts.failed == 0
    assert len(set(means)) > 300, "frames are not repeated"
