#pragma once

#include <string>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Facts about this machine now: a report's "host", with the keys of `edgeproof_runtime.engines.machine.host_facts`.
/// An unknown value is null, an unknown list empty.
json::Value host_facts(const json::Object &package_versions);

/// What makes timings on this machine less trustworthy, in the sentences of
/// `edgeproof_runtime.system.host.host_warnings`.
std::vector<std::string> host_warnings(const json::Value &facts);

}  // namespace edgeproof::app
