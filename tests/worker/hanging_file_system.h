#pragma once
// A file system of which one operation hangs until it is let go.

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <string>

#include "common/error.h"
#include "common/pass_through_file_system.h"

namespace contrail::worker {

// Hangs as it may on a network file system: the next operation of that name (`doing` of the base
// class) whose path (of a rename: the new name) holds a text.
class HangingFileSystem : public PassThroughFileSystem {
 public:
  explicit HangingFileSystem(FileSystem& inner) : PassThroughFileSystem(inner) {}

  void Hang(const std::string& doing, const std::string& part) {
    const std::lock_guard<std::mutex> lock(mutex_);
    doing_ = doing;
    part_ = part;
    released_ = false;
  }
  // The next such operation fails instead.
  void FailOnce(const std::string& doing, const std::string& part) {
    const std::lock_guard<std::mutex> lock(mutex_);
    fails_ = doing;
    fails_part_ = part;
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  void WaitUntilItHangs() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return hanging_; });
  }
  void WaitUntilNoneHangs() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !hanging_; });
  }

  void Rename(const std::string& from, const std::string& to) override {
    MayHang("rename", to);
    PassThroughFileSystem::Rename(from, to);
  }

 private:
  void Before(Act /*act*/, const std::string& path, const char* doing) const override {
    if (std::string(doing) != "rename") MayHang(doing, path);
  }

  void MayHang(const std::string& doing, const std::string& path) const {
    std::unique_lock<std::mutex> lock(mutex_);
    if (doing == fails_ && path.find(fails_part_) != std::string::npos) {
      fails_.clear();
      throw IoError(EIO, path, "could not " + doing);
    }
    if (doing != doing_ || path.find(part_) == std::string::npos) return;
    doing_.clear();  // one operation alone
    hanging_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return released_; });
    hanging_ = false;
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::string doing_, part_, fails_, fails_part_;  // guarded by mutex_, as the rest
  bool released_ = false;
  mutable bool hanging_ = false;
};

}  // namespace contrail::worker
