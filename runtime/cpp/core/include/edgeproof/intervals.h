#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace edgeproof {

/// Wilson's 95 % score interval of a proportion, within 0..1 and exactly 0 or 1 at the ends: E. B. Wilson, "Probable
/// inference, the law of succession, and statistical inference", JASA 22 (1927). It keeps its coverage near 0 and 1 and
/// for small n, where the normal approximation does not. Throws std::invalid_argument unless 0 <= successes <= n and
/// n >= 1.
std::pair<double, double> wilson_interval(std::int64_t successes, std::int64_t n);

/// Area under the ROC curve: the probability that a defect scores higher than a good image, ties counting half. The
/// Mann-Whitney statistic divided by the number of pairs (Hanley and McNeil 1982). Throws std::invalid_argument where
/// either has no score.
double auroc(std::vector<double> good, const std::vector<double> &defect);

/// 95 % interval of an area: the areas that the measured one is at most 1.96 of their standard errors away from. The
/// standard error is that of each end, not of the measured area, where it would be 0 for an area of 1. Newcombe 2006,
/// "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5: Hanley and
/// McNeil's exponential approximation with (n_good + n_defect) / 2 - 1 for n_good - 1 and n_defect - 1.
std::pair<double, double> auroc_ci95(double area, std::size_t n_good, std::size_t n_defect);

}  // namespace edgeproof
