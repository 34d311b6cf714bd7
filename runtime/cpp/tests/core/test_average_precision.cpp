#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "edgeproof/average_precision.h"

using namespace edgeproof;

namespace {

bool near(double value, double expected) { return std::abs(value - expected) < 1e-12; }

/// The average precision of one class.
double of(const std::vector<float> &scores, const std::vector<std::uint8_t> &shown) {
    return *average_precision(scores.data(), shown.data(), scores.size(), 1).mean;
}

}  // namespace

// Expected values: scikit-learn's `average_precision_score`.
TEST(average_precision_is_that_of_scikit_learn) {
    CHECK(near(of({0.1F, 0.4F, 0.35F, 0.8F}, {0, 0, 1, 1}), 0.8333333333333333));
    CHECK(near(of({0.5F, 0.5F, 0.5F, 0.2F}, {1, 0, 0, 1}), 0.41666666666666663));
    CHECK(of({0.9F, 0.8F, 0.1F}, {1, 1, 0}) == 1.0);
}

TEST(the_mean_is_over_the_classes_that_an_image_shows) {
    const std::vector<float> scores{0.9F, 0.1F, 0.3F, 0.2F, 0.8F, 0.9F};  // 2 images x 3 classes
    const std::vector<std::uint8_t> shown{1, 0, 1, 0, 0, 0};
    const AveragePrecision found = average_precision(scores.data(), shown.data(), 2, 3);
    CHECK(found.per_class.size() == 3);
    CHECK(found.per_class[0] == 1.0);
    CHECK(!found.per_class[1]);
    CHECK(found.per_class[2] == 0.5);
    CHECK(found.mean == 0.75);
    CHECK(near(found.influence[0] + found.influence[1], 0.0));
}

TEST(without_a_positive_there_is_no_mean) {
    const std::vector<float> scores{0.9F};
    const std::vector<std::uint8_t> shown{0};
    CHECK(!average_precision(scores.data(), shown.data(), 1, 1).mean);
    CHECK(!average_precision(nullptr, nullptr, 0, 2).mean);
}

TEST(a_score_that_is_not_a_number_is_refused) {
    const std::vector<float> scores{0.9F, std::numeric_limits<float>::quiet_NaN()};
    const std::vector<std::uint8_t> shown{1, 0};
    bool refused = false;
    try {
        average_precision(scores.data(), shown.data(), 2, 1);
    } catch (const std::invalid_argument &) {
        refused = true;
    }
    CHECK(refused);
}

TEST(an_interval_lies_within_0_and_1) {
    const auto interval = logit_interval(0.9, {0.1, -0.1});
    CHECK(interval && interval->first > 0.0 && interval->first < 0.9 && interval->second > 0.9 && interval->second < 1.0);
    const auto wide = logit_interval(0.5, {1e6, -1e6});
    CHECK(wide && wide->first == 0.0 && wide->second == 1.0);
    CHECK(!logit_interval(1.0, {0.0, 0.0}));
    CHECK(!logit_interval(0.5, {0.0, 0.0}));
}
