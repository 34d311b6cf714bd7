#include "attachments.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <tuple>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "files.h"
#include "json_text.h"
#include "sha256.h"

namespace edgeproof {
namespace {

const std::string schema(spec::attachment_schema);
const std::string attachments = "attachments";
constexpr std::size_t digest_digits = 64;

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> model_files{
    {{"fp32", "model.onnx"},
     {"fp16", "model.fp16.onnx"},
     {"int8", "model.int8.onnx"},
     {"int8-tensorrt", "model.int8-tensorrt.onnx"}}};

bool all_of(const std::string &text, const char *allowed) {
    return text.find_first_not_of(allowed) == std::string::npos;
}

bool is_digest(const std::string &text) {
    return text.size() == digest_digits && all_of(text, "0123456789abcdef");
}

bool is_record(const std::string &name) {
    return name.size() == digest_digits + 5 && is_digest(name.substr(0, digest_digits)) &&
           name.substr(digest_digits) == ".json";
}

/// 2026-11-27T03:20:18.123456Z
bool is_time(const std::string &text) {
    constexpr std::string_view form = "0000-00-00T00:00:00.000000Z";
    if (text.size() != form.size()) return false;
    for (std::size_t i = 0; i < form.size(); ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        if (form[i] == '0' ? !digit : text[i] != form[i]) return false;
    }
    return true;
}

constexpr const char *lower = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr const char *key_characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
constexpr const char *file_characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";

std::string base_name(const std::string &name) { return std::filesystem::path(name).filename().string(); }

[[noreturn]] void refuse(const std::string &problem, const std::string &got) {
    throw bad_input("attachment: " + problem, got);
}

void check_name(const Attachment &record) {
    const std::string &name = record.name;
    bool valid = !name.empty() && name.size() <= 64;
    if (record.kind == "precision") {
        valid = std::any_of(model_files.begin(), model_files.end(), [&](const auto &one) { return one.first == name; });
    } else if (record.kind == "engine") {
        valid = valid && all_of(name, key_characters);
    } else {
        valid = valid && name[0] >= 'a' && name[0] <= 'z' && all_of(name, lower);
    }
    if (!valid) refuse("invalid name", name);
}

/// Check the names of the files, which follow from kind and name; sets those of an engine.
void check_files_of(Attachment &record) {
    std::vector<std::string> expected;
    if (record.withdrawn) {
    } else if (record.kind == "precision") {
        for (const auto &[name, file] : model_files)
            if (name == record.name) expected.emplace_back(file);
    } else if (record.kind == "evidence") {
        expected.push_back("evidence/" + record.name + ".json");
    } else {
        const std::string folder = "engines/" + record.name + "/";
        record.engine.info = folder + "engine.json";
        expected.push_back(record.engine.info);
        for (const auto &[name, entry] : record.files) {
            const std::string plain = base_name(name);
            const bool safe = !plain.empty() && plain.size() <= 64 && all_of(plain, file_characters) &&
                              plain[0] != '.' && plain[0] != '-';
            if (name != record.engine.info && safe && name == folder + plain) record.engine.path = name;
        }
        expected.push_back(record.engine.path);
    }
    bool same = expected.size() == record.files.size();
    for (const std::string &name : expected) same = same && record.files.count(name) != 0;
    if (!same) refuse("wrong files for " + record.kind + " " + record.name, std::to_string(record.files.size()));
}

FileEntry file_from(const std::string &name, const json::Value &raw) {
    const auto size = natural(raw.at("size_bytes"));
    if (!size) refuse("invalid file size", name);
    FileEntry entry{raw.at("sha256").string(), *size, {}};
    if (!is_digest(entry.sha256)) refuse("invalid sha256", entry.sha256);
    entry.place = attachments + "/" + entry.sha256 + "." + base_name(name);
    return entry;
}

Attachment record_from(const json::Value &raw) {
    const json::Value *found = raw.find("schema");
    if (found == nullptr) refuse("not a record", "no schema");
    if (found->string() != schema) refuse("unsupported schema", found->string());
    Attachment record;
    record.kind = raw.at("kind").string();
    if (record.kind != "precision" && record.kind != "engine" && record.kind != "evidence")
        refuse("unknown kind", record.kind);
    record.bundle = raw.at("bundle").string();
    record.name = raw.at("name").string();
    record.created_at = raw.at("created_at").string();
    if (const json::Value *withdrawn = raw.find("withdrawn")) record.withdrawn = withdrawn->boolean();
    if (!is_digest(record.bundle)) refuse("invalid bundle", record.bundle);
    check_name(record);
    if (!is_time(record.created_at)) refuse("invalid created_at", record.created_at);
    for (const auto &[name, entry] : raw.at("files").object()) record.files[name] = file_from(name, entry);
    const json::Value *engine = raw.find("engine");
    const bool has_engine = engine != nullptr && !engine->is_null();
    if (has_engine != (record.kind == "engine" && !record.withdrawn))
        refuse(record.kind + " with or without the facts of an engine", record.name);
    if (has_engine) {
        record.engine.key = record.name;
        record.engine.target = engine->at("target").string();
        record.engine.precision = engine->at("precision").string();
        record.onnx_sha256 = engine->at("onnx_sha256").string();
        if (record.engine.target.empty() || !has_name(precision_names, record.engine.precision) ||
            !is_digest(record.onnx_sha256))
            refuse("invalid engine", record.name);
    }
    check_files_of(record);
    return record;
}

Attachment read(const std::filesystem::path &folder, const std::string &path) {
    const std::filesystem::path file = folder / path;
    const std::string content = read_file(file, spec::max_json_bytes);
    Sha256 hash;
    hash.update(content);
    const std::string expected = file.stem().string();
    if (const std::string digest = hash.hex(); digest != expected)
        throw bad_input("attachment: modified", "sha256 " + digest.substr(0, 16), "sha256 " + expected.substr(0, 16));
    Attachment record = record_from(json::parse(content));
    record.path = path;
    return record;
}

}  // namespace

std::string one_line(const std::exception &error) {
    std::istringstream lines(error.what());
    std::string text;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        const char *before = text.empty() ? "" : "; ";
        for (std::string word; words >> word; before = " ") text += before + word;
    }
    return text;
}

std::string LeftOut::note() const {
    return (kind.empty() ? "attachment" : kind + " " + name) + " left out (" + record + "): " + reason;
}

std::vector<std::string> list_attachments(const std::filesystem::path &folder) {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator entry(folder / attachments, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
        if (const std::string name = entry->path().filename().string(); name[0] != '.') names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
}

Scan scan_attachments(const std::filesystem::path &folder, const std::string &manifest_sha256) {
    Scan scan;
    for (const std::string &name : list_attachments(folder)) {
        if (!is_record(name)) continue;
        const std::string path = attachments + "/" + name;
        std::error_code error;
        try {
            Attachment record = read(folder, path);
            if (record.bundle == manifest_sha256) {
                scan.records.push_back(std::move(record));
            } else {
                scan.left_out.push_back({path, record.kind, record.name,
                                         "belongs to another bundle.json, of sha256 " + record.bundle.substr(0, 16)});
            }
        } catch (const std::runtime_error &failure) {
            if (!std::filesystem::exists(std::filesystem::symlink_status(folder / path, error))) {
                scan.vanished = true;
                continue;
            }
            scan.left_out.push_back({path, "", "", one_line(failure)});
        }
    }
    std::sort(scan.records.begin(), scan.records.end(), [](const Attachment &one, const Attachment &other) {
        return std::tie(one.created_at, one.path) > std::tie(other.created_at, other.path);
    });
    return scan;
}

}  // namespace edgeproof
