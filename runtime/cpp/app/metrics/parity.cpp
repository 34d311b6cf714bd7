#include "metrics/parity.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"

namespace edgeproof::app {
namespace {

double cosine(const Answer &pair) {
    if (pair.reference == pair.answer) return 1.0;
    double product = 0.0;
    double a = 0.0;
    double b = 0.0;
    for (std::size_t i = 0; i < pair.answer.size(); ++i) {
        product += pair.reference[i] * pair.answer[i];
        a += pair.reference[i] * pair.reference[i];
        b += pair.answer[i] * pair.answer[i];
    }
    return a > 0 && b > 0 ? product / std::sqrt(a * b) : 0.0;
}

bool finite(const std::vector<double> &values) {
    return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

}  // namespace

std::vector<Measured> parity(const std::vector<Answer> &answers, const std::string &precision,
                             const std::string &prefix, bool ranked) {
    const auto found = std::find_if(spec::parity_bounds.begin(), spec::parity_bounds.end(),
                                    [&precision](const spec::ParityBound &one) { return precision == one.precision; });
    if (found == spec::parity_bounds.end()) throw bad_input("unknown precision", precision, list_of(precision_names));
    const spec::ParityBound &bound = *found;
    double largest = 0.0;
    double total = 0.0;
    double scale = 0.0;
    double worst_cosine = 1.0;
    bool all_finite = true;
    std::size_t values = 0;
    for (const Answer &pair : answers) {
        all_finite = all_finite && finite(pair.reference) && finite(pair.answer);
        for (std::size_t i = 0; i < pair.answer.size(); ++i) {
            const double difference = std::abs(pair.reference[i] - pair.answer[i]);
            largest = std::max(largest, difference);
            total += difference;
            scale = std::max(scale, std::abs(pair.reference[i]));
        }
        values += pair.answer.size();
        worst_cosine = std::min(worst_cosine, cosine(pair));
    }
    std::size_t same_first = 0;
    for (const Answer &pair : answers) {
        const auto first = std::max_element(pair.answer.begin(), pair.answer.end()) - pair.answer.begin();
        double peak = 0.0;
        for (const double value : pair.reference) peak = std::max(peak, std::abs(value));
        // A difference this large swaps only classes that the reference itself hardly tells apart. The cap keeps a
        // large error from excusing itself.
        const double allowed = std::min(2 * largest, 1e-3 * peak);
        const double best = *std::max_element(pair.reference.begin(), pair.reference.end());
        same_first += pair.reference[static_cast<std::size_t>(first)] >= best - allowed ? 1 : 0;
    }
    const auto n = static_cast<double>(answers.size());
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const auto known = [all_finite, nan](double value) { return all_finite ? value : nan; };
    std::vector<Measured> measured{
        {"n", n, {}, {}},
        {prefix + "max_abs_diff", known(largest), {}, {}},
        {prefix + "mean_abs_diff", known(total / static_cast<double>(values)), {}, {}},
        {prefix + "relative_diff", known(scale > 0 ? largest / scale : largest), {}, bound.relative_diff}};
    if (values > answers.size()) measured.push_back({prefix + "cosine", known(worst_cosine), bound.cosine, {}});
    if (ranked) {
        const double agreement = known(static_cast<double>(same_first) / n);
        measured.push_back({prefix + "top1_agreement", agreement, bound.top1_agreement, {}});
    }
    return measured;
}

}  // namespace edgeproof::app
