#include <cmath>
#include <fstream>
#include <stdexcept>

#include "check.h"
#include "edgeproof/json.h"
#include "edgeproof/latency.h"
#include "npy.h"

using namespace edgeproof;

namespace {

void check_same(const std::optional<double> &got, const json::Value &expected, const char *name) {
    CHECK_WITH(got.has_value() != expected.is_null(), name);
    if (got && !expected.is_null())
        CHECK_WITH(std::abs(*got - expected.number()) <= 1e-9 * std::abs(expected.number()), name);
}

}  // namespace

TEST(summaries_equal_the_python_runtimes) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/latency.json"));
    for (const auto &golden : cases.array()) {
        LatencyRecorder recorder;
        for (const auto &value : golden.at("values_ms").array()) recorder.add(value.number());
        const LatencySummary summary = recorder.summary();
        const json::Value &expected = golden.at("summary");
        CHECK(static_cast<int>(summary.count) == expected.at("count").integer());
        CHECK(static_cast<int>(summary.sampled) == expected.at("sampled").integer());
        check_same(summary.mean_ms, expected.at("mean"), "mean");
        for (const Percentile &percentile : summary.percentiles_ms) {
            check_same(percentile.value, expected.at(percentile.name), percentile.name.data());
            const json::Value *reason = expected.at("unsupported").find(percentile.name);
            CHECK(percentile.unsupported == (reason == nullptr ? "" : reason->string()));
        }
        check_same(summary.max_ms, expected.at("max"), "max");
    }
}

TEST(samples_that_a_quantile_needs) {
    CHECK(samples_needed(0.50) == 5);
    CHECK(samples_needed(0.90) == 29);
    CHECK(samples_needed(0.99) == 299);
    for (const double p : {0.0, 1.0, -1.0, std::nan("")}) {
        bool thrown = false;
        try {
            samples_needed(p);
        } catch (const std::invalid_argument &) {
            thrown = true;
        }
        CHECK(thrown);
    }
}

TEST(a_long_run_is_thinned_to_a_fair_sample) {
    LatencyRecorder recorder(500);
    for (int i = 0; i < 100'000; ++i) recorder.add(i);
    const LatencySummary summary = recorder.summary();
    CHECK(summary.count == 100'000 && summary.sampled == 500);
    CHECK(summary.mean_ms == 49'999.5 && summary.max_ms == 99'999.0);
    const std::optional<double> median = summary.percentiles_ms.front().value;
    CHECK(median > 40'000.0 && median < 60'000.0);
}

#ifdef __linux__
TEST(the_memory_of_a_record_is_taken_once) {
    const auto resident_pages = [] {
        std::ifstream file("/proc/self/statm");
        long all = 0, resident = 0;
        file >> all >> resident;
        return resident;
    };
    LatencyRecorder recorder(std::size_t{1} << 20);  // 8 MiB
    const long before = resident_pages();
    for (int i = 0; i < 1 << 20; ++i) recorder.add(i);
    CHECK(before > 0 && resident_pages() - before < 1'000);
    CHECK(recorder.summary().sampled == std::size_t{1} << 20);
}
#endif
