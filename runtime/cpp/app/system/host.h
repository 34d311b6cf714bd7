#pragma once

#include <string>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Facts about this machine at this moment: a report's "host", with the keys of
/// `edgeproof_runtime.system.host.host_facts`. What cannot be found out is null, or empty where it is a list.
json::Value host_facts(const json::Object &package_versions);

/// What about this machine makes its timings less trustworthy, in sentences for people; those of
/// `edgeproof_runtime.system.host.host_warnings`.
std::vector<std::string> host_warnings(const json::Value &facts);

}  // namespace edgeproof::app
