#include <cmath>
#include <limits>

#include "check.h"
#include "edgeproof/postprocess.h"

using namespace edgeproof;

TEST(softmax_of_large_and_equal_scores) {
    float large[] = {1000.0F, 1000.0F, -1000.0F};
    softmax(large, 3);
    CHECK(large[0] == 0.5F && large[1] == 0.5F && large[2] == 0.0F);
    softmax(large, 0);
    float spoiled[] = {1.0F, std::numeric_limits<float>::quiet_NaN()};
    softmax(spoiled, 2);
    CHECK(std::isnan(spoiled[0]) && std::isnan(spoiled[1]));
}

TEST(top_k_breaks_ties_by_index_and_puts_nan_last) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float scores[] = {nan, 0.5F, 2.0F, 0.5F, nan};
    const auto best = top_k(scores, 5, 9);
    CHECK(best.size() == 5);
    CHECK(best[0].index == 2 && best[1].index == 1 && best[2].index == 3 && best[3].index == 0 && best[4].index == 4);
    CHECK(top_k(scores, 5, 1).size() == 1);
    CHECK(top_k(scores, 0, 3).empty());
}
