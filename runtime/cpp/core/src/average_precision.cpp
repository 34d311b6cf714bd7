#include "edgeproof/average_precision.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace edgeproof {
namespace {

constexpr double z95 = 1.959963984540054;  // quantile of the normal distribution for two-sided 95 % intervals

/// Images of one class with the same score.
struct Group {
    std::size_t end = 0;  ///< images with this score or a higher one, which is also the group's end in the ranking
    double found = 0.0;   ///< positives with exactly this score
    double precision = 0.0;
};

/// The distinct scores of one class, highest first, and `order`, the images in the order of their scores.
std::vector<Group> groups_of(const float *scores, const std::uint8_t *shown, std::size_t stride,
                             std::vector<std::size_t> &order) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return scores[a * stride] > scores[b * stride]; });
    std::vector<Group> groups;
    std::size_t positives = 0;
    for (std::size_t begin = 0; begin < order.size();) {
        const float score = scores[order[begin] * stride];
        const std::size_t before = positives;
        std::size_t end = begin;
        for (; end < order.size() && scores[order[end] * stride] == score; ++end)
            positives += shown[order[end] * stride] != 0 ? 1 : 0;
        groups.push_back({end, static_cast<double>(positives - before),
                          static_cast<double>(positives) / static_cast<double>(end)});
        begin = end;
    }
    return groups;
}

/// Add the derivative of a class's average precision by each image's weight. With `P` positives, an image of group `k`
/// changes it by `([positive] (precision_k - average + A_k) - B_k) / P`, where A and B are sums over the groups from k
/// downwards: of `found / taken`, and of `found * precision / taken`. Only there does the image count as taken.
void add_influence(const std::vector<Group> &groups, const std::vector<std::size_t> &order, const std::uint8_t *shown,
                   std::size_t stride, double positives, double average, std::vector<double> &influence) {
    double of_taken = 0.0;
    double of_precision = 0.0;
    for (std::size_t k = groups.size(); k-- > 0;) {
        const Group &group = groups[k];
        const double share = group.found / static_cast<double>(group.end);
        of_taken += share;
        of_precision += share * group.precision;
        for (std::size_t place = k > 0 ? groups[k - 1].end : 0; place < group.end; ++place) {
            const std::size_t image = order[place];
            const double own = shown[image * stride] != 0 ? group.precision - average + of_taken : 0.0;
            influence[image] += (own - of_precision) / positives;
        }
    }
}

}  // namespace

AveragePrecision average_precision(const float *scores, const std::uint8_t *shown, std::size_t images,
                                   std::size_t classes) {
    // No order has a place for NaN.
    if (std::any_of(scores, scores + images * classes, [](float score) { return std::isnan(score); }))
        throw std::invalid_argument("a score is not a number");
    AveragePrecision result;
    result.influence.assign(images, 0.0);
    std::vector<std::size_t> order(images);
    double total = 0.0;
    double present = 0.0;
    for (std::size_t index = 0; index < classes; ++index) {
        std::iota(order.begin(), order.end(), std::size_t{0});
        const std::vector<Group> groups = groups_of(scores + index, shown + index, classes, order);
        double positives = 0.0;
        double sum = 0.0;
        for (const Group &group : groups) {
            positives += group.found;
            sum += group.found * group.precision;
        }
        result.per_class.emplace_back();
        if (positives == 0.0) continue;
        const double average = sum / positives;
        result.per_class.back() = average;
        total += average;
        present += 1.0;
        add_influence(groups, order, shown + index, classes, positives, average, result.influence);
    }
    if (present == 0.0) return result;
    result.mean = total / present;
    for (double &change : result.influence) change /= present;
    return result;
}

std::optional<std::pair<double, double>> logit_interval(double share, const std::vector<double> &influence) {
    double variance = 0.0;
    for (const double change : influence) variance += change * change;
    if (!(share > 0.0 && share < 1.0) || variance == 0.0) return std::nullopt;
    const double middle = std::log(share / (1 - share));
    const double half = z95 * std::sqrt(variance) / (share * (1 - share));
    return std::pair{1 / (1 + std::exp(half - middle)), 1 / (1 + std::exp(-half - middle))};
}

}  // namespace edgeproof
