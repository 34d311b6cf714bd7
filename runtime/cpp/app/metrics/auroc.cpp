#include "metrics/auroc.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "edgeproof/intervals.h"
#include "json_text.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

Value ci95(double area, std::size_t good, std::size_t defect) {
    const auto [low, high] = auroc_ci95(area, good, defect);
    return {Array{number(low), number(high)}};
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
