#include "edgeproof/postprocess.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace edgeproof {

void softmax(float *values, std::size_t count) {
    if (count == 0) return;
    const float largest = *std::max_element(values, values + count);
    double total = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        values[i] = std::exp(values[i] - largest);
        total += static_cast<double>(values[i]);
    }
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<double>(values[i]) / total);
}

std::vector<Scored> top_k(const float *scores, std::size_t count, std::size_t k) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto better = [scores](std::size_t a, std::size_t b) {
        const bool nan_a = std::isnan(scores[a]);
        const bool nan_b = std::isnan(scores[b]);
        if (nan_a || nan_b) return nan_a == nan_b ? a < b : nan_b;
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    };
    const std::size_t kept = std::min(k, count);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), better);
    std::vector<Scored> best;
    best.reserve(kept);
    for (std::size_t i = 0; i < kept; ++i) best.push_back({order[i], scores[order[i]]});
    return best;
}

}  // namespace edgeproof
