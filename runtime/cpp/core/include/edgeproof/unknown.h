#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace edgeproof {

/// Figures that say how well a model knows what it sees; higher is better known.
enum class KnownScore { max_probability, margin, energy };
inline constexpr std::array<std::string_view, 3> known_score_names{"max-probability", "margin", "energy"};

/// One row's figure: the largest probability; the largest less the second largest; or log(sum(exp(logits))), the negated
/// energy of Liu et al. (2020) at temperature 1. `values` are logits for `energy`, else probabilities. A margin of one
/// value is that value. NaN for NaN, and for no values.
double known_score(KnownScore score, const float *values, std::size_t count);

/// From which figure on an image counts as one of the model's classes.
struct UnknownRule {
    KnownScore score = KnownScore::max_probability;
    double limit = 0.0;

    /// NaN is unknown.
    bool knows(double value) const { return value >= limit; }
};

/// Parse `SCORE:LIMIT`, such as `margin:0.2`. Throws `Error` (kind json: bad input).
UnknownRule parse_unknown(const std::string &text);

}  // namespace edgeproof
