#include "live/worker.h"

#include "sources/picture.h"
#include "tasks/registry.h"

namespace edgeproof::app {

Worker::Worker(const Bundle &bundle, Engine &engine, const std::optional<UnknownRule> &unknown)
    : head_(head_of(bundle, unknown)), engine_(engine), preprocess_(bundle.contract) {}

Decided Worker::operator()(const Captured &frame) {
    const std::int64_t begin = now_ns();
    preprocess_(view_of(frame.image), engine_.input());
    const std::int64_t prepared = now_ns();
    engine_.run();
    const std::int64_t inferred = now_ns();
    Decided decided{(*head_)(engine_), {}};
    const std::int64_t end = now_ns();
    const double age_ms = ms_between(frame.captured_ns, end);
    decided.stages_ms = {frame.capture_ms,
                         frame.decode_ms,
                         ms_between(begin, prepared),
                         ms_between(prepared, inferred),
                         ms_between(inferred, end),
                         age_ms + frame.capture_ms,
                         age_ms};
    return decided;
}

}  // namespace edgeproof::app
