#include <cmath>
#include <stdexcept>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/intervals.h"
#include "edgeproof/json.h"

using namespace edgeproof;

namespace {

/// Equal but for the last digit that text keeps.
bool same(double got, const json::Value &expected) { return std::abs(got - expected.number()) <= 1e-15; }

bool same(std::pair<double, double> got, const json::Value &expected) {
    return same(got.first, expected.array()[0]) && same(got.second, expected.array()[1]);
}

std::vector<double> numbers(const json::Value &value) {
    std::vector<double> found;
    for (const auto &item : value.array()) found.push_back(item.number());
    return found;
}

}  // namespace

TEST(intervals_equal_the_golden_cases) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/intervals.json"));
    for (const auto &golden : cases.array()) {
        if (const json::Value *wilson = golden.find("wilson")) {
            CHECK(same(wilson_interval(golden.at("successes").integer(), golden.at("n").integer()), *wilson));
            continue;
        }
        const std::vector<double> good = numbers(golden.at("good"));
        const std::vector<double> defect = numbers(golden.at("defect"));
        CHECK(same(auroc(good, defect), golden.at("auroc")));
        CHECK(same(auroc_ci95(auroc(good, defect), good.size(), defect.size()), golden.at("ci95")));
    }
}

TEST(what_is_no_proportion_is_refused) {
    for (const auto &[successes, n] : {std::pair{0, 0}, {-1, 5}, {6, 5}}) {
        bool thrown = false;
        try {
            wilson_interval(successes, n);
        } catch (const std::invalid_argument &) {
            thrown = true;
        }
        CHECK(thrown);
    }
}
