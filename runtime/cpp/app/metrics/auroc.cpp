#include "metrics/auroc.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "json_text.h"
#include "metrics/intervals.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

/// The Mann-Whitney statistic divided by the number of pairs, ties counting half (Hanley and McNeil 1982).
double auroc(std::vector<double> good, const std::vector<double> &defect) {
    std::sort(good.begin(), good.end());
    std::ptrdiff_t wins = 0;
    for (const double score : defect) {
        const auto [below, above] = std::equal_range(good.begin(), good.end(), score);
        wins += (below - good.begin()) + (above - good.begin());
    }
    return static_cast<double>(wins) / (2.0 * static_cast<double>(good.size()) * static_cast<double>(defect.size()));
}

/// The least area that the measured one is at most 1.96 of its own standard errors away from: Newcombe 2006,
/// "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5.
double lowest_area(double area, double good, double defect) {
    const double mean_n = (good + defect) / 2 - 1;
    double outside = 0.0;
    double inside = area;
    for (int halved = 0; halved < 50; ++halved) {  // beyond a double's digits
        const double middle = (outside + inside) / 2;
        const double spread = 1 + mean_n * ((1 - middle) / (2 - middle) + middle / (1 + middle));
        const bool too_low =
            (area - middle) * (area - middle) > z95 * z95 * middle * (1 - middle) * spread / (good * defect);
        (too_low ? outside : inside) = middle;
    }
    return inside;
}

Value ci95(double area, std::size_t good, std::size_t defect) {
    const auto n = static_cast<double>(good);
    const auto m = static_cast<double>(defect);
    return {Array{number(lowest_area(area, n, m)), number(1.0 - lowest_area(1.0 - area, n, m))}};
}

}  // namespace

void AnomalyMeter::add(const std::string &kind, double score) {
    scores_[kind].push_back(std::isnan(score) ? std::numeric_limits<double>::infinity() : score);
}

std::size_t AnomalyMeter::n() const {
    std::size_t total = 0;
    for (const auto &[kind, scores] : scores_) total += scores.size();
    return total;
}

double AnomalyMeter::above(const std::vector<double> &scores) const {
    const auto found = std::count_if(scores.begin(), scores.end(), [this](double s) { return !(s <= threshold_); });
    return static_cast<double>(found) / static_cast<double>(scores.size());
}

Value AnomalyMeter::to_json() const {
    const auto good = scores_.find("good");
    const bool has_good = good != scores_.end();
    std::vector<double> together;
    double total_area = 0.0;
    Array kinds;
    Object all;
    for (const auto &[kind, scores] : scores_) {
        Array values;
        for (const double score : scores) values.push_back(number(score));
        all.emplace_back(kind, Value{values});
        if (kind == "good") continue;
        together.insert(together.end(), scores.begin(), scores.end());
        const double area = has_good ? auroc(good->second, scores) : 0.0;
        total_area += area;
        kinds.push_back({Object{{"kind", {kind}},
                                {"n", integer(static_cast<double>(scores.size()))},
                                {"auroc", has_good ? number(area) : Value{}},
                                {"ci95", has_good ? ci95(area, good->second.size(), scores.size()) : Value{}},
                                {"detected", number(above(scores))}}});
    }
    const bool both = has_good && !together.empty();
    return {Object{{"n", integer(static_cast<double>(n()))},
                   {"good_n", integer(has_good ? static_cast<double>(good->second.size()) : 0.0)},
                   {"threshold", number(threshold_)},
                   {"false_alarms", has_good ? number(above(good->second)) : Value{}},
                   {"kinds", {kinds}},
                   {"mean_auroc", both ? number(total_area / static_cast<double>(kinds.size())) : Value{}},
                   {"auroc", both ? number(auroc(good->second, together)) : Value{}},
                   {"scores", {all}}}};
}

}  // namespace edgeproof::app
