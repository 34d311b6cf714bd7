#include "edgeproof/bundle.h"

#include <algorithm>
#include <sstream>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "attachments.h"
#include "contents.h"
#include "files.h"
#include "find_bundle.h"
#include "json_text.h"
#include "sha256.h"

namespace edgeproof {
namespace {

const std::string schema(spec::bundle_schema);
const std::string schema_1(spec::bundle_1_schema);
const std::string normal(name_of(normal_names, Normal::splitmix64_box_muller));
constexpr const char *export_again = "export the bundle again";
constexpr int max_tries = 20;
constexpr const char *copy_again = "copy the whole folder again, or export the bundle again";
constexpr std::int64_t max_listed_bytes = spec::max_compiled_bytes;
constexpr const char *int8_tensorrt = "int8-tensorrt";
constexpr std::int64_t max_output_size = spec::max_tensor_bytes / 4;
constexpr std::size_t max_latent_size = spec::max_latent_size;

std::optional<std::string> optional_string(const json::Value &value) {
    if (value.is_null()) return std::nullopt;
    return value.string();
}

/// Refuse names and labels that are too long to be any.
const std::string &check_text(const std::string &what, const std::string &text) {
    const auto characters = std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (characters > spec::max_text_characters)
        throw bad_input(what + ": too long", std::to_string(characters) + " characters",
                        "at most " + std::to_string(spec::max_text_characters));
    return text;
}

/// Refuse a name that is no name of a folder.
const std::string &check_name(const std::string &name) {
    if (name.empty()) throw bad_input("bundle.json: name must be a string", "nothing", "a string, not empty");
    if (name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos)
        throw bad_input("bundle.json: invalid name", name, "no path separators");
    return check_text("bundle.json: name", name);
}

std::int64_t size_of(const json::Value &value) {
    if (const auto size = natural(value)) return *size;
    throw bad_input("bundle.json: invalid file size", std::to_string(value.number()));
}

OutputEntry output_from(const json::Value &raw) {
    OutputEntry output{raw.at("name").string(), {}, raw.at("activation").string()};
    std::int64_t total = 1;
    for (const json::Value &side : raw.at("shape").array()) {
        output.shape.push_back(side.integer());
        if (side.integer() < 1 || (total *= side.integer()) > max_output_size)
            throw bad_input("bundle.json: output shape must be fixed, and not too large", output.name,
                            "positive integers");
    }
    if (!has_name(activation_names, output.activation))
        throw bad_input("bundle.json: unknown activation", output.activation, list_of(activation_names));
    return output;
}

GoldenEntry golden_from(const json::Value &raw) {
    GoldenEntry golden{
        raw.at("frame").string(), raw.at("tensor").string(), {}, std::nullopt, optional_string(raw.at("label"))};
    for (const json::Value &output : raw.at("outputs").array()) golden.outputs.push_back(output.string());
    if (!raw.at("top1").is_null()) {
        if (raw.at("top1").integer() < 0)
            throw bad_input("bundle.json: invalid golden case top1", std::to_string(raw.at("top1").integer()),
                            "a class index");
        golden.top1 = static_cast<std::size_t>(raw.at("top1").integer());
    }
    if (const json::Value *seed = raw.find("seed"); seed != nullptr && !seed->is_null())
        golden.seed = static_cast<std::uint64_t>(size_of(*seed));
    return golden;
}

LatentInput latent_from(const json::Value &raw) {
    if (raw.at("normal").string() != normal)
        throw bad_input("input.latent.normal: unknown", raw.at("normal").string(), normal);
    const LatentInput latent{static_cast<std::size_t>(size_of(raw.at("size"))), raw.at("low").number(),
                             raw.at("high").number(), raw.at("color").string() == "gray" ? 1 : 3};
    if (latent.size < 1 || latent.size > max_latent_size || !(latent.low < latent.high))
        throw bad_input("input.latent: invalid size or range", std::to_string(latent.size),
                        "a size from 1, and low < high");
    return latent;
}

/// Check that models have names that bundles use, and that one of them is the base of the others.
void check_models(const Bundle &bundle) {
    const auto is_known = [](const auto &model) {
        return model.first == int8_tensorrt || has_name(precision_names, model.first);
    };
    if (std::all_of(bundle.models.begin(), bundle.models.end(), is_known) &&
        bundle.models.count(bundle.base_precision()) != 0)
        return;
    std::string got;
    for (const auto &[precision, file] : bundle.models) got += (got.empty() ? "" : ", ") + precision;
    throw bad_input("bundle.json: invalid models", got.empty() ? "none" : got,
                    "fp32 (or the precision of a quantised MODEL), and optionally others of " +
                        list_of(precision_names) + ", " + int8_tensorrt);
}

/// Check that every file that is referred to is listed.
void check_listed(const Bundle &bundle) {
    std::vector<std::string> names;
    for (const auto &[precision, file] : bundle.models) names.push_back(file);
    for (const Part &part : bundle.parts) names.insert(names.end(), part.files.begin(), part.files.end());
    for (const std::string &name : names)
        if (bundle.files.count(name) == 0)
            throw bad_input("bundle.json: refers to an unlisted file", name, {}, export_again);
}

/// Check that the labels of golden cases are classes of the model; the other tasks have none.
void check_golden(const Bundle &bundle) {
    for (const GoldenEntry &golden : bundle.golden)
        if (golden.top1 && *golden.top1 >= bundle.output_size())
            throw bad_input("golden case " + golden.frame + ": top1 is not a class of the model",
                            std::to_string(*golden.top1), "0.." + std::to_string(bundle.output_size() - 1));
}

/// The parts that a schema 1 manifest lists, and added precisions.
void read_parts(Bundle &bundle, const json::Value &raw, bool has_parts) {
    for (const auto &[precision, file] : bundle.models)
        if (precision != bundle.base_precision())
            bundle.parts.push_back({"precision", precision, {file}, "bundle.json"});
    if (!has_parts) return;
    for (const json::Value &engine : raw.at("engines").array()) {
        bundle.engines.push_back({engine.at("key").string(), engine.at("target").string(),
                                  engine.at("precision").string(), engine.at("path").string(),
                                  engine.at("info").string()});
        const EngineEntry &entry = bundle.engines.back();
        if (!has_name(precision_names, entry.precision))
            throw bad_input("bundle.json: compiled engine of unknown precision", entry.precision,
                            list_of(precision_names));
        bundle.parts.push_back({"engine", entry.key, {entry.path, entry.info}, "bundle.json"});
    }
    for (const json::Value &name : raw.at("evidence").array()) {
        bundle.evidence.push_back(name.string());
        bundle.parts.push_back(
            {"evidence", std::filesystem::path(name.string()).stem().string(), {name.string()}, "bundle.json"});
    }
}

Bundle from_json(const json::Value &raw) {
    const json::Value *found = raw.find("schema");
    if (found == nullptr || (found->string() != schema && found->string() != schema_1)) {
        throw bad_input("bundle.json: unsupported schema", found == nullptr ? "none" : found->string(),
                        schema_1 + " or " + schema,
                        "use the edgeproof-run of the edgeproof that exported it");
    }
    Bundle bundle;
    bundle.name = check_name(raw.at("name").string());
    bundle.task = raw.at("task").string();
    bundle.contract_json = raw.at("input").at("contract");
    if (!bundle.contract_json.is_null()) bundle.contract = contract_from_json(bundle.contract_json);
    bundle.input_name = check_text("bundle.json: input name", raw.at("input").at("name").string());
    if (raw.at("golden").array().size() > static_cast<std::size_t>(spec::max_golden_cases))
        throw bad_input("bundle.json: too many golden cases", {}, std::to_string(spec::max_golden_cases) + " at most");
    for (const json::Value &output : raw.at("outputs").array()) {
        bundle.outputs.push_back(output_from(output));
        check_text("bundle.json: output name", bundle.outputs.back().name);
    }
    if (bundle.outputs.empty()) throw bad_input("bundle.json: no outputs");
    if (const json::Value *latent = raw.at("input").find("latent"); latent != nullptr && !latent->is_null())
        bundle.latent = latent_from(*latent);
    if (bundle.contract_json.is_null() != bundle.latent.has_value())
        throw bad_input("bundle.json: input must have a contract or a latent input", bundle.latent ? "both" : "neither",
                        {}, export_again);
    for (const auto &[precision, file] : raw.at("models").object()) bundle.models[precision] = file.string();
    for (const json::Value &golden : raw.at("golden").array()) bundle.golden.push_back(golden_from(golden));
    for (const auto &[name, entry] : raw.at("files").object()) {
        if (!is_plain(name)) throw bad_input("bundle.json: path outside the bundle", name, "a plain relative path");
        bundle.files[name] = {entry.at("sha256").string(), size_of(entry.at("size_bytes")), {}};
    }
    bundle.class_ids_file = optional_string(raw.at("class_ids"));
    raw.at("provenance");  // reports show it
    bundle.manifest = raw;
    check_models(bundle);
    check_golden(bundle);
    read_parts(bundle, raw, found->string() == schema_1);
    check_listed(bundle);
    return bundle;
}

/// Lines end at line feeds only: a label may contain any other character that breaks lines.
std::vector<std::string> lines_of(const std::string &content, const std::string &name, std::size_t expected) {
    std::istringstream text(content);
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) {
        if (!line.empty() && line.back() == '\r') line.pop_back();
        check_text(name, line);
        lines.push_back(line);
    }
    if (lines.size() != expected) {
        throw bad_input(name + ": does not match the model", std::to_string(lines.size()) + " lines",
                        std::to_string(expected));
    }
    return lines;
}

const FileEntry &entry_of(const Bundle &bundle, const std::string &file) {
    const auto entry = bundle.files.find(file);
    if (entry == bundle.files.end()) throw bad_input("bundle.json: refers to an unlisted file", file, {}, export_again);
    return entry->second;
}

void check_content(const std::filesystem::path &path, std::size_t size, const std::string &digest,
                   const FileEntry &entry) {
    if (static_cast<std::int64_t>(size) != entry.size_bytes)
        throw bad_input(path.string() + ": modified", std::to_string(size) + " bytes",
                        std::to_string(entry.size_bytes) + " bytes", copy_again);
    if (digest != entry.sha256)
        throw bad_input(path.string() + ": modified", "sha256 " + digest, "sha256 " + entry.sha256, copy_again);
}

std::string short_number(double value) {
    std::ostringstream text;
    text << value;
    return text.str();
}

std::string sides(Size size) {
    const std::string height = std::to_string(size.height);
    return size.height == size.width ? height : height + "x" + std::to_string(size.width);
}

std::string list(const std::vector<double> &values) {
    std::string text;
    for (const double value : values) text += (text.empty() ? "" : " ") + short_number(value);
    return "[" + text + "]";
}

std::string manifest_text(const std::filesystem::path &folder) {
    const std::filesystem::path manifest = folder / "bundle.json";
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(manifest, ignored)) {
        const bool exists = std::filesystem::is_directory(folder, ignored);
        throw bad_input(folder.string() + ": not a bundle", exists ? "a folder without bundle.json" : "no such folder",
                        "a folder NAME.edge that holds bundle.json", "edgeproof export MODEL --out NAME.edge");
    }
    return read_file(manifest, spec::max_json_bytes);
}

std::optional<std::string> manifest_or_none(const std::filesystem::path &folder) {
    try {
        return manifest_text(folder);
    } catch (const Failure &) {
        return std::nullopt;
    }
}

Bundle opened(const std::filesystem::path &folder, const std::string &text, std::shared_ptr<const Signed> signed_by) {
    Bundle bundle;
    std::optional<std::string> labels;
    Sha256 hash;
    hash.update(text);
    const std::string digest = hash.hex();
    if (signed_by) signed_by->require("bundle.json", digest);
    try {
        const json::Value raw = json::parse(text);
        bundle = from_json(raw);
        labels = optional_string(raw.at("labels"));
    } catch (const Error &error) {
        throw bad_input((folder / "bundle.json").string() + ": damaged",
                        error.problem + (error.got.empty() ? "" : ": " + error.got), error.expected, export_again);
    }
    bundle.folder = folder;
    bundle.signed_by = std::move(signed_by);
    bundle.manifest_sha256 = digest;
    add_attachments(bundle, Check::sizes);
    if (labels) bundle.labels = lines_of(bundle.read(*labels), *labels, bundle.output_size());
    return bundle;
}

}  // namespace

Bundle Bundle::open(const std::filesystem::path &path, const RequireSigned &require) {
    for (int tries = 0;; ++tries) {
        const std::filesystem::path folder = find_bundle(path);
        std::optional<std::string> text;
        try {
            text = manifest_text(folder);
            std::shared_ptr<const Signed> signed_by;
            if (require) signed_by = std::make_shared<const Signed>(require(folder));
            return opened(folder, *text, signed_by);
        } catch (const Failure &) {
            // An export may have replaced the bundle meanwhile.
            if (tries == max_tries || manifest_or_none(find_bundle(path)) == text) throw;
        }
    }
}

void Bundle::check_files() {
    Bundle checked_again = from_json(manifest);
    checked_again.folder = folder;
    checked_again.signed_by = signed_by;
    checked_again.manifest_sha256 = manifest_sha256;
    checked_again.labels = labels;
    add_attachments(checked_again, Check::hashes);
    for (const auto &[name, entry] : checked_again.files) whole(folder, name, entry);
    *this = std::move(checked_again);
}

std::string Bundle::why_left_out(const std::string &kind, const std::string &name) const {
    for (const LeftOut &one : left_out)
        if (one.kind == kind && one.name == name) return one.reason;
    return {};
}

std::string Bundle::read(const std::string &file) const {
    const FileEntry &entry = entry_of(*this, file);
    const std::filesystem::path path = present(folder, file, entry);
    std::string content = read_file(path, max_listed_bytes);
    Sha256 hash;
    hash.update(content);
    check_content(path, content.size(), hash.hex(), entry);
    return content;
}

PrivateCopy Bundle::copy(const std::string &file) const {
    const FileEntry &entry = entry_of(*this, file);
    const std::filesystem::path path = present(folder, file, entry);
    PrivateCopy found(path, max_listed_bytes);
    check_content(path, found.content().size(), found.sha256(), entry);
    return found;
}

std::string Bundle::base_precision() const {
    for (const char *precision : {"fp32", "fp16", "int8"})
        if (models.count(precision) != 0) return precision;
    return "fp32";
}

std::string Bundle::contract_summary() const {
    if (latent) {
        const bool gray = latent->channels == 1;
        return std::to_string(latent->size) + " normal numbers (" + normal + "), " + (gray ? "gray" : "rgb") +
               " image, " + short_number(latent->low) + ".." + short_number(latent->high);
    }
    const json::Value &raw = contract_json;
    const Size size = contract.tensor_size();
    std::string text = raw.at("color").string();
    if (contract.color == Color::channels) text = std::to_string(contract.channels()) + " channels";
    if (contract.frame_dtype != FrameDtype::uint8) text += " of " + raw.at("frame_dtype").string();
    text += " " + std::to_string(size.width) + "x" + std::to_string(size.height);
    text += ", " + raw.at("resize").string();
    if (contract.crop_fraction) text += " " + short_number(*contract.crop_fraction);
    text += " " + sides(contract.resize_size) + " " + raw.at("filter").string();
    if (contract.crop_size) text += ", crop " + sides(*contract.crop_size);
    return text + ", (x/" + short_number(contract.scale) + " - " + list(contract.mean) + ") / " + list(contract.std);
}

std::vector<std::string> Bundle::class_ids() const {
    if (!class_ids_file) return {};
    return lines_of(read(*class_ids_file), *class_ids_file, output_size());
}

std::string Bundle::label_of(std::size_t index) const {
    return index < labels.size() ? labels[index] : std::to_string(index);
}

std::size_t Bundle::output_size(std::size_t index) const {
    std::size_t size = 1;
    for (const std::int64_t side : outputs[index].shape) size *= static_cast<std::size_t>(side);
    return size;
}

}  // namespace edgeproof
