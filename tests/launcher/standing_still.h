#pragma once
// A file system that stands still until a gate is opened.

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "common/recording_file_system.h"

namespace contrail::launcher {

// Holds whoever waits for it until it is opened.
class Gate {
 public:
  void Open() { promise_.set_value(); }
  void Wait() const { future_.wait(); }

 private:
  std::promise<void> promise_;
  std::shared_future<void> future_ = promise_.get_future().share();
};

// A file system whose writes wait at a gate.
class StandingStill : public FaultyFileSystem {
 public:
  StandingStill(FileSystem& inner, std::shared_ptr<Gate> gate)
      : FaultyFileSystem(inner), gate_(std::move(gate)) {}
  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override {
    gate_->Wait();
    return FaultyFileSystem::Open(path, mode);
  }

 private:
  const std::shared_ptr<Gate> gate_;
};

}  // namespace contrail::launcher
