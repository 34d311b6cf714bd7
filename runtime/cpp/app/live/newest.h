#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "edgeproof/spec.h"

namespace edgeproof::app {

/// The newest of any number of messages, and how many there were.
class Newest {
  public:
    void add(std::string message) {
        ++count_;
        if (static_cast<std::int64_t>(kept_.size()) == spec::max_skipped_kept) kept_.pop_front();
        kept_.push_back(std::move(message));
    }

    std::int64_t count() const { return count_; }
    auto begin() const { return kept_.begin(); }
    auto end() const { return kept_.end(); }

  private:
    std::deque<std::string> kept_;
    std::int64_t count_ = 0;
};

}  // namespace edgeproof::app
