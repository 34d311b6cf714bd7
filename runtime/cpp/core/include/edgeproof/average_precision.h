#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace edgeproof {

/// Average precision of every class of a multi-label model, and their mean (mAP).
struct AveragePrecision {
    std::vector<std::optional<double>> per_class;  ///< nothing where no image shows the class
    std::optional<double> mean;                    ///< over the others; nothing where there are none
    std::vector<double> influence;                 ///< derivative of the mean by the weight of each image; sums to 0
};

/// `sum((R_n - R_{n-1}) * P_n)` over the distinct scores of a class as thresholds, without interpolation and with equal
/// scores together, as scikit-learn's `average_precision_score` defines it.
/// `scores` and `shown` (not 0: the image shows the class) are `images x classes`, row by row.
/// Throws std::invalid_argument where a score is NaN.
AveragePrecision average_precision(const float *scores, const std::uint8_t *shown, std::size_t images,
                                   std::size_t classes);

/// 95 % interval of a share in (0, 1), such as a mAP, on the logit scale, which keeps both ends within 0..1 (K. Boyd,
/// K. Eng, C. Page, "Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals", ECML PKDD 2013,
/// section 3). Its variance is the infinitesimal jackknife's, the sum of squares of `influence` (B. Efron, "The
/// Jackknife, the Bootstrap and Other Resampling Plans", 1982, chapter 6): images are resampled whole, so the classes
/// may depend on each other. Nothing at exactly 0 and 1, where the data says nothing of its spread.
std::optional<std::pair<double, double>> logit_interval(double share, const std::vector<double> &influence);

}  // namespace edgeproof
