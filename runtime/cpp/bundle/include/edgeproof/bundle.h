#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/contract.h"
#include "edgeproof/json.h"
#include "edgeproof/private_copy.h"
#include "edgeproof/signatures.h"

namespace edgeproof {

struct FileEntry {
    std::string sha256;
    std::int64_t size_bytes = 0;
    std::string place;  ///< path in the folder, of a file of an attachment; empty: its own name
};

struct OutputEntry {
    std::string name;
    std::vector<std::int64_t> shape;  ///< without the batch dimension
    std::string activation;           ///< what the graph has already applied: "none" means logits
};

struct GoldenEntry {
    std::string frame;
    std::string tensor;
    std::vector<std::string> outputs;  ///< in the order of the model's
    std::optional<std::size_t> top1;
    std::optional<std::string> label;
    std::uint64_t seed = 0;  ///< the tensor is its latent vector 0 (task generate)
};

/// Input of a generator, and the meaning of its output values; see
/// `edgeproof_runtime.bundle.task_settings.LatentInput`.
struct LatentInput {
    std::size_t size = 0;
    double low = 0.0;
    double high = 1.0;
    std::int64_t channels = 1;  ///< of the image: 1 gray, 3 RGB
};

struct EngineEntry {
    std::string key;
    std::string target;
    std::string precision;
    std::string path;
    std::string info;
};

/// A part that the model works without: an added precision, a compiled engine or a report.
struct Part {
    std::string kind;  ///< "precision", "engine" or "evidence"
    std::string name;  ///< the precision, the engine's key or the kind of report
    std::vector<std::string> files;
    std::string record;  ///< file that lists it: bundle.json, or one in attachments/
};

/// A part that is listed and not usable, or a record that cannot be read, which has no kind and name.
struct LeftOut {
    std::string record;
    std::string kind;
    std::string name;
    std::string reason;

    /// One line for people.
    std::string note() const;
};

/// A bundle on disk: what this program uses of `edgeproof_runtime.bundle.reader`.
struct Bundle {
    std::filesystem::path folder;
    std::string name;
    std::string task;
    std::string manifest_sha256;
    Contract contract;                  ///< empty for a generator, which has `latent`
    json::Value contract_json;          ///< as written in bundle.json
    std::optional<LatentInput> latent;  ///< for the task generate only
    std::string input_name;
    std::vector<OutputEntry> outputs;
    std::vector<std::string> labels;  ///< one per class, or empty
    std::optional<std::string> class_ids_file;
    std::map<std::string, std::string> models;  ///< precision -> file
    std::vector<GoldenEntry> golden;
    std::vector<EngineEntry> engines;   ///< newest first
    std::vector<std::string> evidence;  ///< names of the reports
    std::map<std::string, FileEntry> files;
    std::vector<Part> parts;        ///< of bundle.json and of attachments, those that are left out excepted
    std::vector<LeftOut> left_out;  ///< damaged, missing, or of another bundle.json
    json::Value manifest;           ///< bundle.json as read: a task finds its own settings there
    std::shared_ptr<const Signed> signed_by;  ///< the signature that `open` required; empty if it required none

    /// Checks the signature of a bundle's folder; `require_signed` with a policy.
    using RequireSigned = std::function<Signed(const std::filesystem::path &folder)>;

    /// Read and validate bundle.json and the attachments. The hashes of files are checked when they are used.
    /// A part with a missing file is left out.
    /// Throws `Failure` (bad input): not a bundle, another schema, a damaged manifest, a path outside the folder.
    /// With `require` the bundle must be signed, which is checked before bundle.json is parsed; parts that the
    /// signature does not cover are left out, except engines that this machine compiled.
    static Bundle open(const std::filesystem::path &folder, const RequireSigned &require = nullptr);

    /// Check presence, size and sha256 of every listed file, as `edgeproof_runtime.bundle.reader.Bundle.check` does.
    /// Damaged parts are left out. Throws like `read` for the other files.
    void check_files();

    /// Why a part was left out; empty if it is not listed at all.
    std::string why_left_out(const std::string &kind, const std::string &name) const;

    /// Content of a listed file, opened once, after its size and sha256 were checked.
    /// Throws `Failure` (bad input): it is missing, not a regular file, leads outside the folder, or was modified.
    std::string read(const std::string &file) const;

    /// As `read`, for an engine that takes a path: its content cannot change any more.
    PrivateCopy copy(const std::string &file) const;

    /// The input in one line for people, as `InputContract.summary` or `LatentInput.summary` words it.
    std::string contract_summary() const;

    /// Precision of the exported model: fp32, except for a model that was already quantised when it was exported.
    std::string base_precision() const;

    /// Folder names of datasets, one per class, or empty. Throws like `read`.
    std::vector<std::string> class_ids() const;

    /// The label of a class, or its index if the bundle has no labels.
    std::string label_of(std::size_t index) const;

    /// Number of values of an output.
    std::size_t output_size(std::size_t index = 0) const;
};

}  // namespace edgeproof
