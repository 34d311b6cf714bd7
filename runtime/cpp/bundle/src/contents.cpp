#include "contents.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "attachments.h"
#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "files.h"
#include "sha256.h"

namespace edgeproof {
namespace {

constexpr int max_tries = 20;  // a folder that writers change is listed again

using Identity = std::pair<std::string, std::string>;

Part part_of(const Attachment &record) {
    Part part{record.kind, record.name, {}, record.path};
    for (const auto &[name, entry] : record.files) part.files.push_back(name);
    return part;
}

/// Files that the model does not work without.
std::set<std::string> base_files(const Bundle &bundle) {
    std::set<std::string> needed{bundle.models.at(bundle.base_precision())};
    for (const GoldenEntry &golden : bundle.golden) {
        needed.insert({golden.frame, golden.tensor});
        needed.insert(golden.outputs.begin(), golden.outputs.end());
    }
    if (bundle.class_ids_file) needed.insert(*bundle.class_ids_file);
    if (const json::Value &labels = bundle.manifest.at("labels"); !labels.is_null()) needed.insert(labels.string());
    std::set<std::string> optional;
    for (const Part &part : bundle.parts) optional.insert(part.files.begin(), part.files.end());
    std::set<std::string> base;
    for (const auto &[name, entry] : bundle.files)
        if (optional.count(name) == 0 || needed.count(name) != 0) base.insert(name);
    return base;
}

/// Why files cannot be used; empty if they are there.
std::string fault(const std::filesystem::path &folder, const std::map<std::string, FileEntry> &files, Check check) {
    try {
        for (const auto &[name, entry] : files)
            check == Check::hashes ? whole(folder, name, entry) : present(folder, name, entry);
    } catch (const Failure &failure) {
        return one_line(failure);
    }
    return {};
}

std::map<std::string, FileEntry> files_of(const Bundle &bundle, const Part &part) {
    std::map<std::string, FileEntry> files;
    for (const std::string &name : part.files) files[name] = bundle.files.at(name);
    return files;
}

void add(Bundle &bundle, const Attachment &record) {
    bundle.files.insert(record.files.begin(), record.files.end());
    if (record.kind == "precision") bundle.models[record.name] = record.files.begin()->first;
    if (record.kind == "evidence") bundle.evidence.push_back(record.files.begin()->first);
    bundle.parts.push_back(part_of(record));
}

/// Add engines of the bundle's models in front, newest first; leave out those of other models.
void add_engines(Bundle &bundle, const std::vector<Attachment> &engines) {
    std::set<std::string> built_from;
    for (const auto &[precision, file] : bundle.models) built_from.insert(bundle.files.at(file).sha256);
    std::vector<EngineEntry> added;
    for (const Attachment &record : engines) {
        if (built_from.count(record.onnx_sha256) == 0) {
            bundle.left_out.push_back({"attachments", record.kind, record.name,
                                       "built from another model than the bundle's; edgeproof compile builds it "
                                       "again"});
            continue;
        }
        add(bundle, record);
        added.push_back(record.engine);
    }
    bundle.engines.insert(bundle.engines.begin(), added.begin(), added.end());
}

std::string sha256_of(const std::filesystem::path &path) {
    const RegularFile file(path, spec::max_compiled_bytes);
    std::vector<char> piece(std::size_t{1} << 16);
    Sha256 hash;
    while (const std::size_t count = file.read(piece.data(), piece.size())) hash.update({piece.data(), count});
    return hash.hex();
}

/// Remove a part from a bundle's tables.
void remove_part(Bundle &bundle, const Part &part) {
    const auto same = [&part](const Part &one) { return one.kind == part.kind && one.name == part.name; };
    const Part gone = part;  // `part` may lie in what is changed
    const std::set<std::string> base = base_files(bundle);
    if (gone.kind == "precision") bundle.models.erase(gone.name);
    const auto drop = [](auto &items, const auto &matches) {
        items.erase(std::remove_if(items.begin(), items.end(), matches), items.end());
    };
    if (gone.kind == "engine")
        drop(bundle.engines, [&gone](const EngineEntry &entry) { return entry.key == gone.name; });
    if (gone.kind == "evidence")
        drop(bundle.evidence, [&gone](const std::string &name) { return name == gone.files.front(); });
    drop(bundle.parts, same);
    for (const std::string &name : gone.files) {
        const auto uses = [&name](const Part &one) {
            return std::find(one.files.begin(), one.files.end(), name) != one.files.end();
        };
        if (base.count(name) == 0 && std::none_of(bundle.parts.begin(), bundle.parts.end(), uses))
            bundle.files.erase(name);
    }
}

/// Whether the signature covers a record of attachments (empty: bundle.json) and its files. True without one.
bool is_covered(const Bundle &bundle, const std::string &record, const std::map<std::string, FileEntry> &files) {
    if (!bundle.signed_by) return true;
    const Signed &signature = *bundle.signed_by;
    const std::filesystem::path path(record);
    if (!record.empty() && !signature.covers(record, path.stem().string())) return false;
    return std::all_of(files.begin(), files.end(), [&signature](const auto &file) {
        const auto &[name, entry] = file;
        return signature.covers(entry.place.empty() ? name : entry.place, entry.sha256);
    });
}

/// Whether this machine compiled an engine.
bool is_ours(const Attachment &record) {
    if (record.kind != "engine" || record.withdrawn) return false;
    return is_built_here(record.files.at(record.engine.path).sha256, record.onnx_sha256);
}

/// Let engines that the signature covers be deserialised: a signer vouches for them.
void trust_signed_engines(const Bundle &bundle) {
    if (!bundle.signed_by) return;
    for (const EngineEntry &engine : bundle.engines) {
        const FileEntry &entry = bundle.files.at(engine.path);
        if (bundle.signed_by->covers(entry.place.empty() ? engine.path : entry.place, entry.sha256))
            trust_signed(entry.sha256);
    }
}

/// One pass over the folder. Returns whether a writer removed a record meanwhile.
bool read_once(Bundle &bundle, Check check) {
    Scan scan = scan_attachments(bundle.folder, bundle.manifest_sha256);
    bundle.left_out = scan.left_out;
    const std::set<std::string> base = base_files(bundle);
    std::set<Identity> known;
    std::vector<Attachment> newest;
    for (Attachment &record : scan.records) {
        const Identity identity{record.kind, record.name};
        if (known.count(identity) != 0) continue;
        bool replaces = identity == Identity{"precision", bundle.base_precision()};
        for (const auto &[name, entry] : record.files) replaces = replaces || base.count(name) != 0;
        const bool covered = is_covered(bundle, record.path, record.files) || is_ours(record);
        const std::string reason = replaces   ? "bundle.json holds this file, and an export alone may change it"
                                   : !covered ? "not signed, and not compiled on this machine"
                                              : fault(bundle.folder, record.files, check);
        if (!reason.empty()) {
            bundle.left_out.push_back({record.path, record.kind, record.name, reason});
            continue;
        }
        known.insert(identity);
        newest.push_back(std::move(record));
    }
    for (const Part &part : std::vector<Part>(bundle.parts)) {
        const bool superseded = known.count({part.kind, part.name}) != 0;
        const std::map<std::string, FileEntry> files = files_of(bundle, part);
        const std::string reason = superseded                       ? ""
                                   : !is_covered(bundle, "", files) ? "not signed"
                                                                    : fault(bundle.folder, files, check);
        if (!reason.empty()) bundle.left_out.push_back({part.record, part.kind, part.name, reason});
        if (superseded || !reason.empty()) remove_part(bundle, part);
    }
    std::vector<Attachment> engines;
    for (const Attachment &record : newest) {
        if (record.withdrawn) continue;
        if (record.kind == "engine") {
            engines.push_back(record);
        } else {
            add(bundle, record);
        }
    }
    add_engines(bundle, engines);
    std::sort(bundle.evidence.begin(), bundle.evidence.end());
    return scan.vanished;
}

}  // namespace

void add_attachments(Bundle &bundle, Check check) {
    const Bundle listed = bundle;
    if (bundle.signed_by)
        for (const std::string &name : base_files(bundle)) bundle.signed_by->require(name, bundle.files.at(name).sha256);
    std::vector<std::string> before = list_attachments(bundle.folder);
    for (int tries = 0; tries < max_tries; ++tries) {
        bundle = listed;
        const bool vanished = read_once(bundle, check);
        std::vector<std::string> after = list_attachments(bundle.folder);
        if (after == before || (bundle.left_out.empty() && !vanished)) break;
        before = std::move(after);
    }
    trust_signed_engines(bundle);
}

std::filesystem::path present(const std::filesystem::path &folder, const std::string &file, const FileEntry &entry) {
    const std::string &place = entry.place.empty() ? file : entry.place;
    const std::filesystem::path path = folder / place;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error))
        throw bad_input(folder.string() + ": file missing", "no " + place, {}, "copy the whole folder again");
    const std::filesystem::path root = std::filesystem::canonical(folder);
    const std::filesystem::path real = std::filesystem::canonical(path);
    if (std::mismatch(root.begin(), root.end(), real.begin(), real.end()).first != root.end())
        throw bad_input(place + ": leads outside the bundle", real.string(), "inside " + root.string());
    const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path));
    if (size != entry.size_bytes)
        throw bad_input(path.string() + ": modified", std::to_string(size) + " bytes",
                        std::to_string(entry.size_bytes) + " bytes",
                        "copy the whole folder again, or export the bundle again");
    return path;
}

std::filesystem::path whole(const std::filesystem::path &folder, const std::string &file, const FileEntry &entry) {
    const std::filesystem::path path = present(folder, file, entry);
    if (const std::string digest = sha256_of(path); digest != entry.sha256)
        throw bad_input(path.string() + ": modified", "sha256 " + digest, "sha256 " + entry.sha256,
                        "copy the whole folder again, or export the bundle again");
    return path;
}

}  // namespace edgeproof
