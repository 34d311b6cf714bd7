#pragma once

#include <string>
#include <vector>

namespace edgeproof::app {

/// The labels of a frame labelled "tabby|tiger cat", without the blanks around them; at least one.
std::vector<std::string> alternatives(const std::string &label);

}  // namespace edgeproof::app
