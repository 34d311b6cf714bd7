#include "verify/golden.h"

#include "edgeproof/failure.h"
#include "metrics/parity.h"
#include "npy.h"
#include "tasks/registry.h"

namespace edgeproof::app {
namespace {

/// For each output, one answer per case.
std::vector<std::vector<Answer>> replay(const Bundle &bundle, Engine &engine, GoldenInputs &inputs) {
    std::vector<std::vector<Answer>> outputs(bundle.outputs.size());
    for (const GoldenEntry &golden : bundle.golden) {
        if (golden.outputs.size() != bundle.outputs.size())
            throw bad_input("golden case " + golden.frame + ": wrong number of outputs");
        inputs.fill(golden, engine.input());
        engine.run();
        for (std::size_t i = 0; i < bundle.outputs.size(); ++i) {
            const std::vector<double> reference = values_of(parse_npy(bundle.read(golden.outputs[i]), golden.outputs[i]));
            if (reference.size() != bundle.output_size(i))
                throw bad_input(golden.outputs[i] + ": does not match the model",
                                std::to_string(reference.size()) + " values");
            const float *output = engine.output(i);
            outputs[i].push_back({reference, {output, output + reference.size()}});
        }
    }
    return outputs;
}

/// Precision whose parity bounds apply: an fp32 model may compute in fp16 between its inputs and outputs.
std::string bounds_of(const Bundle &bundle, const std::string &precision) {
    const json::Value *arithmetic = bundle.manifest.at("provenance").find("arithmetic");
    const bool half = precision == "fp32" && arithmetic != nullptr && !arithmetic->is_null();
    return half && arithmetic->string() == "fp16" ? "fp16" : precision;
}

}  // namespace

std::vector<Gate> verify(const Bundle &bundle, const std::string &precision, Engine &engine) {
    const Task &task = task_of(bundle);
    if (bundle.golden.empty())
        throw bad_input(bundle.folder.string() + ": no golden cases", {}, {}, "export the bundle again");
    const std::unique_ptr<GoldenInputs> inputs = task.golden_inputs(bundle);
    const std::vector<std::vector<Answer>> answers = replay(bundle, engine, *inputs);
    std::vector<Gate> gates = inputs->gates();
    const std::string name = engine.describe().name;
    Gate outputs{"parity " + name + " " + precision, name + " with the reference", {}};
    for (std::size_t i = 0; i < bundle.outputs.size(); ++i) {
        const std::string prefix = bundle.outputs.size() > 1 ? bundle.outputs[i].name + " " : "";
        const std::vector<Measured> found = parity(answers[i], bounds_of(bundle, precision), prefix, task.ranked);
        outputs.measured.insert(outputs.measured.end(), found.begin() + (i == 0 ? 0 : 1), found.end());  // n once
    }
    gates.push_back(std::move(outputs));
    return gates;
}

}  // namespace edgeproof::app
