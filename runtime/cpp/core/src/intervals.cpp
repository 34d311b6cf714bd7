#include "edgeproof/intervals.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace edgeproof {
namespace {

constexpr double z95 = 1.959963984540054;  // quantile of the normal distribution for two-sided 95 % intervals

double lowest_area(double area, double n_good, double n_defect) {
    const double mean_n = (n_good + n_defect) / 2 - 1;
    double outside = 0.0;
    double inside = area;
    for (int halved = 0; halved < 50; ++halved) {  // beyond a double's digits
        const double middle = (outside + inside) / 2;
        const double spread = 1 + mean_n * ((1 - middle) / (2 - middle) + middle / (1 + middle));
        const bool too_low =
            (area - middle) * (area - middle) > z95 * z95 * middle * (1 - middle) * spread / (n_good * n_defect);
        (too_low ? outside : inside) = middle;
    }
    return inside;
}

}  // namespace

std::pair<double, double> wilson_interval(std::int64_t successes, std::int64_t n) {
    if (n < 1 || successes < 0 || successes > n)
        throw std::invalid_argument(std::to_string(successes) + " of " + std::to_string(n) + " is not a proportion");
    const auto trials = static_cast<double>(n);
    const double share = static_cast<double>(successes) / trials;
    const double denominator = 1 + z95 * z95 / trials;
    const double centre = (share + z95 * z95 / (2 * trials)) / denominator;
    const double half =
        z95 * std::sqrt(share * (1 - share) / trials + z95 * z95 / (4 * trials * trials)) / denominator;
    // Exactly 0 and 1 at the ends, where rounding would leave 1e-17.
    return {successes == 0 ? 0.0 : std::max(0.0, centre - half), successes == n ? 1.0 : std::min(1.0, centre + half)};
}

double auroc(std::vector<double> good, const std::vector<double> &defect) {
    if (good.empty() || defect.empty()) throw std::invalid_argument("an area needs scores of both kinds");
    std::sort(good.begin(), good.end());
    std::ptrdiff_t wins = 0;
    for (const double score : defect) {
        const auto [below, above] = std::equal_range(good.begin(), good.end(), score);
        wins += (below - good.begin()) + (above - good.begin());
    }
    return static_cast<double>(wins) / (2.0 * static_cast<double>(good.size()) * static_cast<double>(defect.size()));
}

std::pair<double, double> auroc_ci95(double area, std::size_t n_good, std::size_t n_defect) {
    const auto good = static_cast<double>(n_good);
    const auto defect = static_cast<double>(n_defect);
    return {lowest_area(area, good, defect), 1.0 - lowest_area(1.0 - area, good, defect)};
}

}  // namespace edgeproof
