#include "tasks/reconstruct.h"

#include <cmath>
#include <cstdio>

#include "edgeproof/failure.h"
#include "edgeproof/geometry.h"
#include "json_text.h"
#include "metrics/auroc.h"
#include "tasks/golden_inputs.h"

namespace edgeproof::app {
namespace {

// The model's outputs end with heat map and score; a model that reconstructs the image has that before them.
std::size_t heat_map_output(const Bundle &bundle) { return bundle.outputs.size() - 2; }
std::size_t score_output(const Bundle &bundle) { return bundle.outputs.size() - 1; }

const json::Value &settings_of(const Bundle &bundle) { return bundle.manifest.at(reconstruct.settings); }

/// Good or defect; a score that is not finite is never good.
class Anomaly : public Decision {
  public:
    Anomaly(const Bundle &bundle, const Engine &engine, double threshold)
        : score(static_cast<double>(*engine.output(score_output(bundle)))), threshold_(threshold), bundle_(bundle),
          heat_map_(engine.output(heat_map_output(bundle))), label_(defect() ? "defect" : "good") {}

    bool defect() const { return !(score <= threshold_); }

    const std::string &label() const override { return label_; }

    std::string headline() const override {
        char figures[64];
        std::snprintf(figures, sizeof figures, " %.3g (limit %.3g)", score, threshold_);
        return label_ + figures;
    }

    json::Object to_json() const override {
        return {{"anomaly",
                 {json::Object{{"score", number(score)}, {"threshold", number(threshold_)}, {"defect", {defect()}}}}}};
    }

    std::optional<HeatMap> heat_map(const cv::Mat &image) const override {
        const std::vector<std::int64_t> &shape = bundle_.outputs[heat_map_output(bundle_)].shape;
        return HeatMap{heat_map_, static_cast<int>(shape[0]), static_cast<int>(shape[1]), threshold_,
                       tensor_region(bundle_.contract, image.rows, image.cols)};
    }

    const double score;

  private:
    double threshold_;
    const Bundle &bundle_;
    const float *heat_map_;  ///< the engine's
    std::string label_;
};

class ReconstructHead : public Head {
  public:
    explicit ReconstructHead(const Bundle &bundle)
        : bundle_(bundle), threshold_(settings_of(bundle).at("threshold").number()) {}

    std::unique_ptr<Decision> operator()(const Engine &engine) override {
        auto decision = std::make_unique<Anomaly>(bundle_, engine, threshold_);
        ++(decision->defect() ? defects_ : good_);
        return decision;
    }

    std::string totals() const override {
        return std::to_string(defects_) + " defects, " + std::to_string(good_) + " good";
    }

  private:
    const Bundle &bundle_;
    double threshold_;
    std::int64_t defects_ = 0;
    std::int64_t good_ = 0;
};

/// AUROC; a frame's label is "good", or anything else for a kind of defect.
class AnomalyJudge : public Judge {
  public:
    explicit AnomalyJudge(const Bundle &bundle) : meter_(settings_of(bundle).at("threshold").number()) {}

    std::string add(const Decision &decision, const std::string &truth, const std::string &) override {
        meter_.add(truth, dynamic_cast<const Anomaly &>(decision).score);
        return truth == "good" ? "good" : "defect";
    }

    std::vector<std::string> lines() const override {
        const json::Value found = meter_.to_json();
        std::vector<std::string> lines;
        char figure[64];
        for (const json::Value &kind : found.at("kinds").array()) {
            std::string line = kind.at("kind").string() + ": " + std::to_string(kind.at("n").integer()) + " labelled, ";
            if (!kind.at("auroc").is_null()) {
                std::snprintf(figure, sizeof figure, "AUROC %.4f, ", kind.at("auroc").number());
                line += figure;
            }
            std::snprintf(figure, sizeof figure, "%.0f %% detected", 100 * kind.at("detected").number());
            lines.push_back(line + figure);
        }
        if (!found.at("false_alarms").is_null()) {
            std::snprintf(figure, sizeof figure, " labelled, %.0f %% false alarms",
                          100 * found.at("false_alarms").number());
            lines.push_back("good: " + std::to_string(found.at("good_n").integer()) + figure);
        }
        return lines;
    }

    json::Object sections() const override { return {{reconstruct.section, meter_.to_json()}}; }

  private:
    AnomalyMeter meter_;
};

void check(const Bundle &bundle) {
    settings_of(bundle).at("threshold").number();
    const std::vector<OutputEntry> &outputs = bundle.outputs;
    const bool fits = (outputs.size() == 2 || outputs.size() == 3) &&
                      outputs[heat_map_output(bundle)].shape.size() == 2 &&
                      bundle.output_size(score_output(bundle)) == 1;
    if (!fits)
        throw bad_input("bundle.json: the outputs are not those of the task reconstruct",
                        std::to_string(outputs.size()) + " outputs", "heat map, score; before them a reconstruction or nothing",
                        "export the bundle again");
}

}  // namespace

const Task reconstruct{
    "reconstruct",
    "finds defects",
    true,
    "anomaly",
    "anomaly",
    false,
    check,
    [](const Bundle &bundle) -> std::unique_ptr<GoldenInputs> { return std::make_unique<FrameInputs>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Head> { return std::make_unique<ReconstructHead>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Judge> { return std::make_unique<AnomalyJudge>(bundle); },
    nullptr};

}  // namespace edgeproof::app
