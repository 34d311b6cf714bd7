#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "edgeproof/bundle.h"

namespace edgeproof {

/// One record of `attachments/`; see `edgeproof_runtime.bundle.attachments`.
struct Attachment {
    std::string path;  ///< of the record in the bundle's folder
    std::string bundle;
    std::string kind;
    std::string name;
    std::string created_at;  ///< of fixed width: text sorts as time does
    bool withdrawn = false;
    std::map<std::string, FileEntry> files;
    EngineEntry engine;       ///< for the kind engine only
    std::string onnx_sha256;  ///< that the engine was built from
};

/// The records in a bundle's folder.
struct Scan {
    std::vector<Attachment> records;  ///< of this bundle, newest first
    std::vector<LeftOut> left_out;
    bool vanished = false;  ///< a writer removed a record meanwhile
};

/// Read every record. Throws nothing for what is damaged: it is left out.
Scan scan_attachments(const std::filesystem::path &folder, const std::string &manifest_sha256);

/// Names in `attachments/`; writers' temporary files are not among them.
std::vector<std::string> list_attachments(const std::filesystem::path &folder);

}  // namespace edgeproof
