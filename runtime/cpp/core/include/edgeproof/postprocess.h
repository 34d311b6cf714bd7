#pragma once

#include <cstddef>
#include <vector>

namespace edgeproof {

/// exp(x - max) / sum of the same, in place; the sum is kept in double. NaN in, NaN out; nothing for count 0.
void softmax(float *values, std::size_t count);

struct Scored {
    std::size_t index = 0;
    float score = 0.0F;
};

/// The min(k, count) largest scores, largest first; equal scores in the order of their index, NaN last.
std::vector<Scored> top_k(const float *scores, std::size_t count, std::size_t k);

}  // namespace edgeproof
