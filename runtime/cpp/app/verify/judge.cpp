#include "verify/judge.h"

#include <sstream>

#include "edgeproof/failure.h"

namespace edgeproof::app {
namespace {

std::string trimmed(const std::string &text) {
    const std::size_t first = text.find_first_not_of(" \t");
    return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

Judge::Judge(const Bundle &bundle) : bundle_(bundle) {
    if (bundle.anomaly_threshold) {
        anomaly_.emplace(*bundle.anomaly_threshold);
        return;
    }
    accuracy_.emplace(bundle.output_size());
    for (const std::vector<std::string> &names : {bundle.labels, bundle.class_ids()})
        for (std::size_t i = 0; i < names.size(); ++i) classes_.emplace(names[i], i);
}

std::string Judge::add(const Decision &decision, const std::vector<float> &probabilities, const std::string &truth,
                       const std::string &frame) {
    if (!anomaly_) return add_class(probabilities, truth, frame);
    anomaly_->add(truth, static_cast<double>(decision.anomaly->score));
    return truth == "good" ? "good" : "defect";
}

std::string Judge::add_class(const std::vector<float> &probabilities, const std::string &truth,
                             const std::string &frame) {
    // Several classes may be right, or share a label (ImageNet's crane): the model's favourite is meant.
    std::optional<std::size_t> target;
    std::istringstream alternatives(truth);
    for (std::string label; std::getline(alternatives, label, '|');) {
        const auto [begin, end] = classes_.equal_range(trimmed(label));
        for (auto found = begin; found != end; ++found)
            if (!target || probabilities[found->second] > probabilities[*target]) target = found->second;
    }
    if (!target) {
        throw bad_input(frame + " is labelled with something that the model does not know", truth,
                        "a label or a class id of the bundle");
    }
    accuracy_->add(probabilities, *target);
    return bundle_.label_of(*target);
}

}  // namespace edgeproof::app
