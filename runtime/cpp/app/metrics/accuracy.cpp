#include "metrics/accuracy.h"

#include <algorithm>
#include <cmath>

#include "edgeproof/failure.h"
#include "edgeproof/intervals.h"
#include "json_text.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

constexpr std::size_t matrix_classes = 50;  // beyond this a matrix is neither readable nor small
constexpr std::size_t pairs_listed = 25;

struct ClassMetrics {
    std::int64_t support = 0;
    std::int64_t predicted = 0;
    std::int64_t correct = 0;

    double precision() const { return predicted > 0 ? ratio(correct, predicted) : 0.0; }
    double recall() const { return ratio(correct, support); }
    double f1() const { return ratio(2 * correct, support + predicted); }

  private:
    static double ratio(std::int64_t part, std::int64_t whole) {
        return static_cast<double>(part) / static_cast<double>(whole);
    }
};

struct Means {
    double precision = 0.0;
    double recall = 0.0;
    double f1 = 0.0;

    void add(const ClassMetrics &metrics, double weight) {
        precision += weight * metrics.precision();
        recall += weight * metrics.recall();
        f1 += weight * metrics.f1();
    }
    void add_to(Object &object, double total) const {
        object.emplace_back("precision", number(precision / total));
        object.emplace_back("recall", number(recall / total));
        object.emplace_back("f1", number(f1 / total));
    }
};

Value count(std::int64_t value) { return integer(static_cast<double>(value)); }

Value pair_json(std::pair<double, double> interval) { return {Array{number(interval.first), number(interval.second)}}; }

}  // namespace

void AccuracyMeter::add(const std::vector<float> &scores, std::size_t target) {
    if (std::any_of(scores.begin(), scores.end(), [](float score) { return std::isnan(score); }))
        throw bad_input("model output: not a number", "NaN");
    std::int64_t ahead = 0;
    for (std::size_t i = 0; i < scores.size(); ++i)
        ahead += scores[i] > scores[target] || (scores[i] == scores[target] && i < target) ? 1 : 0;
    ++n_;
    top5_ += ahead < 5 ? 1 : 0;
    const auto first = std::max_element(scores.begin(), scores.end()) - scores.begin();
    ++pairs_[{target, static_cast<std::size_t>(first)}];
}

std::int64_t AccuracyMeter::right() const {
    std::int64_t right = 0;
    for (const auto &[pair, frames] : pairs_) right += pair.first == pair.second ? frames : 0;
    return right;
}

std::pair<double, double> AccuracyMeter::ci95() const { return wilson_interval(right(), n_); }

Value AccuracyMeter::to_json(const std::vector<std::string> &labels) const {
    const auto name = [&labels](std::size_t index) -> Value {
        return {labels.empty() ? std::to_string(index) : labels[index]};
    };
    std::map<std::size_t, ClassMetrics> occurring;  // as truth or as answer
    std::vector<std::pair<std::pair<std::size_t, std::size_t>, std::int64_t>> confused;
    for (const auto &[pair, frames] : pairs_) {
        occurring[pair.first].support += frames;
        occurring[pair.second].predicted += frames;
        if (pair.first == pair.second) {
            occurring[pair.first].correct += frames;
        } else {
            confused.emplace_back(pair, frames);
        }
    }
    std::stable_sort(confused.begin(), confused.end(),
                     [](const auto &a, const auto &b) { return a.second > b.second; });

    Means macro;
    Means weighted;
    Array per_class;
    Array occurring_names;
    Array counts;
    for (const auto &[index, metrics] : occurring) {
        occurring_names.push_back(name(index));
        Array row;
        for (const auto &[other, unused] : occurring) {
            const auto found = pairs_.find({index, other});
            row.push_back(count(found == pairs_.end() ? 0 : found->second));
        }
        counts.push_back({row});
        if (metrics.support == 0) continue;  // a class that the data lacks has no recall
        macro.add(metrics, 1.0);
        weighted.add(metrics, static_cast<double>(metrics.support));
        per_class.push_back({Object{{"index", count(static_cast<std::int64_t>(index))},
                                    {"label", name(index)},
                                    {"support", count(metrics.support)},
                                    {"predicted", count(metrics.predicted)},
                                    {"precision", number(metrics.precision())},
                                    {"recall", number(metrics.recall())},
                                    {"f1", number(metrics.f1())}}});
    }
    Array listed;
    for (std::size_t i = 0; i < std::min(confused.size(), pairs_listed); ++i) {
        const auto &[pair, frames] = confused[i];
        listed.push_back(
            {Object{{"truth", name(pair.first)}, {"predicted", name(pair.second)}, {"count", count(frames)}}});
    }
    const bool top5_known = classes_ > 5;  // of five classes it would always be 1
    Object document{{"n", count(n_)},
                    {"classes", count(static_cast<std::int64_t>(classes_))},
                    {"classes_present", count(static_cast<std::int64_t>(per_class.size()))},
                    {"top1", number(top1())},
                    {"top5", top5_known ? number(static_cast<double>(top5_) / static_cast<double>(n_)) : Value{}},
                    {"ci95", pair_json(ci95())},
                    {"top5_ci95", top5_known ? pair_json(wilson_interval(top5_, n_)) : Value{}}};
    macro.add_to(document, static_cast<double>(per_class.size()));
    Object by_support;
    weighted.add_to(by_support, static_cast<double>(n_));
    document.emplace_back("weighted", Value{by_support});
    document.emplace_back("per_class", Value{per_class});
    document.emplace_back("confusion", occurring.size() <= matrix_classes
                                           ? Value{Object{{"labels", {occurring_names}}, {"counts", {counts}}}}
                                           : Value{});
    document.emplace_back("confused", Value{listed});
    return {document};
}

}  // namespace edgeproof::app
