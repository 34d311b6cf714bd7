#include "edgeproof/latency.h"

#include <stdexcept>

#include "check.h"

using namespace edgeproof;

TEST(samples_that_a_percentile_needs) {
    CHECK(samples_needed(0.50) == 5);
    CHECK(samples_needed(0.90) == 29);
    CHECK(samples_needed(0.99) == 299);
    for (const double p : {0.0, 1.0, -1.0, 2.0}) {
        bool thrown = false;
        try {
            samples_needed(p);
        } catch (const std::invalid_argument &) {
            thrown = true;
        }
        CHECK(thrown);
    }
}

TEST(a_percentile_the_sample_cannot_support_is_absent) {
    LatencyRecorder recorder;
    CHECK(recorder.summary().count == 0 && !recorder.summary().p50);
    for (int i = 0; i < 29; ++i) recorder.record(i);
    const LatencySummary summary = recorder.summary();
    CHECK(summary.count == 29 && summary.mean == 14.0 && summary.max == 28.0);
    CHECK(summary.p50 == 14.0);
    CHECK(summary.p90 == 25.2);
    CHECK(!summary.p99);
}

TEST(only_the_most_recent_samples_are_held) {
    LatencyRecorder recorder(3);
    for (int i = 0; i < 10; ++i) recorder.record(i);
    CHECK(recorder.total() == 10);
    CHECK(recorder.summary().count == 3);
    CHECK(recorder.summary().mean == 8.0);
}
