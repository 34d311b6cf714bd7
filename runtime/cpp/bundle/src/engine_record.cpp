#include "edgeproof/engine_record.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "files.h"

namespace edgeproof {
namespace {

constexpr const char *target = "tensorrt";
constexpr std::size_t header_bytes = 64;
constexpr std::size_t version_at = 24;  // github.com/NVIDIA/TensorRT/issues/3073: major, minor, patch, build

std::vector<int> version_numbers(const std::string &version) {
    std::vector<int> numbers;
    std::istringstream text(version);
    for (std::string part; numbers.size() < 4 && std::getline(text, part, '.');) {
        const bool digits =
            !part.empty() && part.size() < 9 && part.find_first_not_of("0123456789") == std::string::npos;
        if (!digits) break;
        numbers.push_back(std::stoi(part));
    }
    return numbers;
}

std::string joined(const std::vector<int> &numbers) {
    std::string text;
    for (const int number : numbers) text += (text.empty() ? "" : ".") + std::to_string(number);
    return text;
}

/// Whether two versions agree in every number that both have.
bool same_version(const std::vector<int> &one, const std::vector<int> &other) {
    const auto common = static_cast<std::ptrdiff_t>(std::min(one.size(), other.size()));
    return common > 0 && std::equal(one.begin(), one.begin() + common, other.begin());
}

bool flag(const json::Value &options, const char *name) {
    const json::Value *found = options.find(name);
    return found != nullptr && std::holds_alternative<bool>(found->data) && found->boolean();
}

std::string compile_command(const ModelArtifact &model, const std::string &target) {
    return "edgeproof compile " + model.bundle.folder.string() + " --target " + target + " --precision " +
           model.precision + " on this machine";
}

/// The record of a compiled engine, checked to be built from the bundle's model.
json::Value read_record(const ModelArtifact &model, const EngineEntry &entry, const std::string &fix) {
    json::Value record = json::parse(model.bundle.read(entry.info));
    const std::string &onnx = model.onnx_name(entry.target == target);
    const std::string &expected = model.bundle.files.at(onnx).sha256;
    if (record.at("onnx_sha256").string() != expected) {
        throw bad_input(entry.path + ": built from another model", "ONNX sha256 " + record.at("onnx_sha256").string(),
                        "sha256 " + expected + " of " + onnx, fix);
    }
    return record;
}

void check_header(const std::string &plan, const std::string &content, const std::vector<int> &recorded) {
    const char *fix = "compile the bundle again";
    if (content.size() < header_bytes) throw bad_input(plan + ": truncated", {}, "a complete plan", fix);
    if (content.compare(0, 4, "ftrt") != 0) throw bad_input(plan + ": not a TensorRT plan", {}, "ftrt", fix);
    std::vector<int> version;
    for (std::size_t i = 0; i < 4; ++i) version.push_back(static_cast<unsigned char>(content[version_at + i]));
    if (!same_version(version, recorded)) {
        throw bad_input(plan + ": does not match its engine.json", "a plan of " + joined(version),
                        joined(recorded), fix);
    }
}

/// Plans load in the exact version that built them; version-compatible plans also in later versions, of the
/// same or the next major version (NVIDIA, Version Compatibility).
void check_version(const std::vector<int> &built, const std::vector<int> &installed, bool compatible,
                   const std::string &fix) {
    const auto follows = [&](const spec::NextMajor &major) {
        return major.built == std::to_string(built.front()) && major.next == std::to_string(installed.front());
    };
    const bool later = compatible && !built.empty() && installed >= built &&
                       (installed.front() == built.front() ||
                        std::any_of(spec::next_plan_majors.begin(), spec::next_plan_majors.end(), follows));
    if (same_version(built, installed) || later) return;
    throw unavailable("compiled engine: built by another version of TensorRT",
                      "built by " + joined(built) + ", installed is " + joined(installed), joined(built), fix);
}

void check_gpu(const json::Value &record, const std::string &compute_capability, const std::string &fix) {
    std::string built_for;
    for (const json::Value &capability : record.at("compute_capabilities").array()) {
        if (capability.string() == compute_capability) return;
        built_for += (built_for.empty() ? "" : ", ") + capability.string();
    }
    const json::Value *hardware = record.at("options").find("hardware_compatibility");
    const bool ampere_plus = hardware != nullptr && std::holds_alternative<std::string>(hardware->data) &&
                             hardware->string() == "ampere_plus";
    if (ampere_plus && version_numbers(compute_capability) >= std::vector<int>{8, 0}) return;
    throw unavailable("compiled engine: built for another GPU", "compute capability " + compute_capability,
                      "compute capability " + built_for, fix);
}

/// The GPU that a record names; empty if it names none.
std::string built_on(const json::Value &record) {
    const json::Value *gpu = record.find("gpu");
    return gpu != nullptr && std::holds_alternative<std::string>(gpu->data) ? gpu->string() : std::string();
}

/// The same of a plan in a bundle; empty also if its record is damaged, which loading it tells.
std::string built_on(const ModelArtifact &model, const EngineEntry &entry) {
    try {
        return built_on(json::parse(model.bundle.read(entry.info)));
    } catch (const Failure &) {
    } catch (const Error &) {
    }
    return {};
}

const std::string &digest_of(const ModelArtifact &model, const EngineEntry &entry) {
    return model.bundle.files.at(entry.path).sha256;  // compared with the content when it is read
}

void check_trusted(const ModelArtifact &model, const EngineEntry &entry) {
    if (is_trusted(digest_of(model, entry))) return;
    const std::string command = "edgeproof compile " + model.bundle.folder.string() + " --target " + entry.target;
    throw unavailable(entry.path + ": not compiled on this machine, and a compiled engine is code",
                      "sha256 " + digest_of(model, entry), "an engine that was compiled here, or that you trust",
                      command + " --force; or, if you trust who compiled it, " + command + " --trust");
}

CompiledEngine check(const ModelArtifact &model, const EngineEntry &entry, const std::vector<int> &installed,
                     const PlanGpu &gpu) {
    const std::string fix = compile_command(model, target);
    const json::Value record = read_record(model, entry, fix);
    const std::vector<int> built = version_numbers(record.at("version").string());
    const json::Value &options = record.at("options");
    check_trusted(model, entry);
    CompiledEngine compiled;
    compiled.name = entry.path;
    compiled.plan = model.bundle.read(entry.path);
    compiled.version_compatible = flag(options, "version_compatible");
    compiled.key = entry.key;
    compiled.built_on = built_on(record);
    compiled.note = other_gpu(compiled.built_on, gpu.identity);
    check_header(compiled.name, compiled.plan, built);
    check_version(built, installed, compiled.version_compatible, fix);
    check_gpu(record, gpu.compute_capability, fix);
    const json::Value *core = options.find("dla_core");
    if (core != nullptr && std::holds_alternative<json::Number>(core->data)) compiled.dla_core = core->integer();
    return compiled;
}

}  // namespace

std::string gpu_identity(const std::string &name, int multiprocessors, std::uint64_t memory_bytes,
                         const std::string &board) {
    const auto gib = static_cast<long long>(std::nearbyint(static_cast<double>(memory_bytes) / (1 << 30)));
    const std::string facts = std::to_string(multiprocessors) + " SMs, " + std::to_string(gib) + " GiB";
    return (name.empty() ? "" : name + ", ") + facts + (board.empty() ? "" : ", " + board);
}

std::optional<std::string> other_gpu(const std::string &built_on, const std::string &identity) {
    if (built_on.find(',') == std::string::npos || built_on == identity) return std::nullopt;
    return "compiled engine: built on " + built_on + ", this is " + identity +
           ": it may be slow or fail here. Run `edgeproof compile BUNDLE --target " + target + "` on this machine.";
}

CompiledEngine find_compiled(const ModelArtifact &model, const std::vector<int> &installed, const PlanGpu &gpu) {
    model.onnx_name(true);  // a plan comes with the model that it was built from
    std::vector<EngineEntry> entries;
    for (const EngineEntry &entry : model.bundle.engines)
        if (entry.target == target && entry.precision == model.precision) entries.push_back(entry);
    std::stable_partition(entries.begin(), entries.end(), [&](const EngineEntry &entry) {
        return built_on(model, entry) == gpu.identity;
    });
    std::optional<Failure> refusal;
    for (const EngineEntry &entry : entries) {
        try {
            return check(model, entry, installed, gpu);
        } catch (const Failure &failure) {
            refusal = failure;
        } catch (const Error &error) {
            refusal = bad_input(entry.info + ": damaged", error.problem, {}, "compile the bundle again");
        }
    }
    if (refusal) throw *refusal;
    throw bad_input(model.bundle.folder.string() + ": no " + model.precision + " engine for TensorRT", {}, {},
                    compile_command(model, target));
}

std::optional<std::string> find_blob(const ModelArtifact &model) {
    for (const EngineEntry &entry : model.bundle.engines) {
        if (entry.target != "openvino" || entry.precision != model.precision) continue;
        if (!is_trusted(digest_of(model, entry))) continue;
        std::string blob;
        try {
            model.bundle.read(entry.info);
            blob = model.bundle.read(entry.path);
        } catch (const Failure &) {
            continue;  // the ONNX model is there; edgeproof inspect names the damage
        }
        try {
            read_record(model, entry, compile_command(model, entry.target));
        } catch (const Error &error) {
            throw bad_input(entry.info + ": damaged", error.problem, {}, "compile the bundle again");
        }
        return blob;
    }
    return std::nullopt;
}

}  // namespace edgeproof
