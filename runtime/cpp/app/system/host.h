#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Facts about this machine now: a report's "host", with the keys of `edgeproof_runtime.engines.machine.host_facts`.
/// An unknown value is null, an unknown list empty.
json::Value host_facts(const json::Object &package_versions);

/// Name of the board in the device tree if this machine is a Jetson; empty elsewhere. `root`: of `/etc` and `/proc`; tests
/// pass another.
std::string jetson_board(const std::filesystem::path &root = "/");

/// What makes timings on this machine less trustworthy, in the sentences of
/// `edgeproof_runtime.system.host.host_warnings`.
std::vector<std::string> host_warnings(const json::Value &facts);

}  // namespace edgeproof::app
