#include "metrics/multilabel.h"

#include <algorithm>
#include <cmath>

#include "edgeproof/average_precision.h"
#include "edgeproof/failure.h"
#include "edgeproof/intervals.h"
#include "json_text.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

/// Label decisions; a ratio of 0 to 0 counts as 0.
struct Counts {
    std::int64_t support = 0;
    std::int64_t predicted = 0;
    std::int64_t correct = 0;

    void add(const Counts &other) {
        support += other.support;
        predicted += other.predicted;
        correct += other.correct;
    }
    double precision() const { return ratio(correct, predicted); }
    double recall() const { return ratio(correct, support); }
    double f1() const { return ratio(2 * correct, support + predicted); }

  private:
    static double ratio(std::int64_t part, std::int64_t whole) {
        return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
    }
};

Value count(std::int64_t value) { return integer(static_cast<double>(value)); }

Value pair_json(std::pair<double, double> interval) { return {Array{number(interval.first), number(interval.second)}}; }

Object ratios(double precision, double recall, double f1) {
    return {{"precision", number(precision)}, {"recall", number(recall)}, {"f1", number(f1)}};
}

Object ratios(const Counts &counts) { return ratios(counts.precision(), counts.recall(), counts.f1()); }

}  // namespace

void MultilabelMeter::add(const std::vector<float> &probabilities, const std::vector<std::size_t> &shown) {
    if (std::any_of(probabilities.begin(), probabilities.end(), [](float value) { return std::isnan(value); }))
        throw bad_input("model output: not a number", "NaN");
    scores_.insert(scores_.end(), probabilities.begin(), probabilities.end());
    shown_.resize(shown_.size() + thresholds_.size());
    for (const std::size_t index : shown) shown_[n_ * thresholds_.size() + index] = 1;
    ++n_;
}

Value MultilabelMeter::to_json(const std::vector<std::string> &labels) const {
    const std::size_t classes = thresholds_.size();
    std::vector<Counts> by_class(classes);
    std::int64_t exact = 0;
    for (std::size_t image = 0; image < n_; ++image) {
        bool same = true;
        for (std::size_t i = 0; i < classes; ++i) {
            const bool shown = shown_[image * classes + i] != 0;
            const bool given = static_cast<double>(scores_[image * classes + i]) >= thresholds_[i];
            by_class[i].add({shown ? 1 : 0, given ? 1 : 0, shown && given ? 1 : 0});
            same = same && shown == given;
        }
        exact += same ? 1 : 0;
    }
    const AveragePrecision found = average_precision(scores_.data(), shown_.data(), n_, classes);
    const auto interval = found.mean ? logit_interval(*found.mean, found.influence) : std::nullopt;

    Counts together;
    double precision = 0.0;
    double recall = 0.0;
    double f1 = 0.0;
    std::int64_t present = 0;
    Array per_class;
    for (std::size_t i = 0; i < classes; ++i) {
        const Counts &counts = by_class[i];
        together.add(counts);
        if (counts.support > 0) {
            precision += counts.precision();
            recall += counts.recall();
            f1 += counts.f1();
            ++present;
        }
        Object entry{{"label", {labels.empty() ? std::to_string(i) : labels[i]}},
                     {"index", count(static_cast<std::int64_t>(i))},
                     {"threshold", number(thresholds_[i])},
                     {"support", count(counts.support)},
                     {"predicted", count(counts.predicted)},
                     {"correct", count(counts.correct)},
                     {"average_precision", found.per_class[i] ? number(*found.per_class[i]) : Value{}}};
        for (auto &member : ratios(counts)) entry.push_back(std::move(member));
        per_class.push_back({entry});
    }
    const auto means = static_cast<double>(std::max<std::int64_t>(present, 1));
    const auto n = static_cast<std::int64_t>(n_);
    return {Object{{"n", count(n)},
                   {"classes", count(static_cast<std::int64_t>(classes))},
                   {"classes_present", count(present)},
                   {"mean_average_precision", found.mean ? number(*found.mean) : Value{}},
                   {"ci95", interval ? pair_json(*interval) : Value{}},
                   {"exact_match", number(static_cast<double>(exact) / static_cast<double>(n))},
                   {"exact_match_ci95", pair_json(wilson_interval(exact, n))},
                   {"micro", {ratios(together)}},
                   {"macro", {ratios(precision / means, recall / means, f1 / means)}},
                   {"per_class", {per_class}}}};
}

}  // namespace edgeproof::app
