#include "edgeproof/unknown.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "edgeproof/error.h"

namespace edgeproof {
namespace {

double log_sum_exp(const float *values, std::size_t count, float largest) {
    if (std::isinf(largest)) return static_cast<double>(largest);
    double total = 0.0;
    for (std::size_t i = 0; i < count; ++i)
        total += std::exp(static_cast<double>(values[i]) - static_cast<double>(largest));
    return static_cast<double>(largest) + std::log(total);
}

}  // namespace

double known_score(KnownScore score, const float *values, std::size_t count) {
    float largest = -std::numeric_limits<float>::infinity();
    float second = largest;
    for (std::size_t i = 0; i < count; ++i) {
        if (std::isnan(values[i])) return std::numeric_limits<double>::quiet_NaN();
        second = std::max(second, std::min(largest, values[i]));
        largest = std::max(largest, values[i]);
    }
    if (count == 0) return std::numeric_limits<double>::quiet_NaN();
    if (score == KnownScore::energy) return log_sum_exp(values, count, largest);
    if (score == KnownScore::max_probability || count == 1) return static_cast<double>(largest);
    return static_cast<double>(largest) - static_cast<double>(second);
}

UnknownRule parse_unknown(const std::string &text) {
    const std::size_t colon = text.find(':');
    const auto found = std::find(known_score_names.begin(), known_score_names.end(), text.substr(0, colon));
    UnknownRule rule;
    bool valid = colon != std::string::npos && found != known_score_names.end();
    if (valid) {
        rule.score = static_cast<KnownScore>(found - known_score_names.begin());
        const char *begin = text.data() + colon + 1;
        const char *end = text.data() + text.size();
        const auto [stopped, error] = std::from_chars(begin, end, rule.limit);
        valid = error == std::errc() && stopped == end && std::isfinite(rule.limit);
        if (rule.score != KnownScore::energy) valid = valid && rule.limit >= 0 && rule.limit <= 1;
    }
    if (!valid)
        throw Error(Error::Kind::json, "unknown: invalid rule", text,
                    "max-probability:P or margin:P with P from 0 to 1, or energy:NUMBER");
    return rule;
}

}  // namespace edgeproof
