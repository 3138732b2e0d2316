#include "common/recording_file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/strings.h"

namespace contrail {
namespace {

using Kind = DiskOperation::Kind;

[[noreturn]] void Fail(const std::string& path, const std::string& doing, int err) {
  throw IoError(err, path, "could not " + doing);
}

}  // namespace

class RecordingFileSystem::File : public WritableFile {
 public:
  File(RecordingFileSystem& owner, uint64_t node, std::string path)
      : owner_(owner), node_(node), path_(std::move(path)) {}

  void PWrite(const void* data, size_t size, uint64_t offset) override {
    Record(Kind::kWrite, offset, std::string(static_cast<const char*>(data), size));
  }
  void Sync() override { Record(Kind::kSync, 0, ""); }
  void Close() override {}

 private:
  void Record(Kind kind, uint64_t offset, std::string data) {
    const std::lock_guard lock(owner_.mutex_);
    DiskOperation operation{kind};
    operation.node = node_;
    operation.offset = offset;
    operation.data = std::move(data);
    operation.path = path_;
    owner_.Do(std::move(operation));
  }

  RecordingFileSystem& owner_;
  const uint64_t node_;
  const std::string path_;
};

// Holds the bytes as they were when it was opened.
class RecordingFileSystem::OpenFile : public ReadableFile {
 public:
  OpenFile(std::string bytes, std::string path)
      : bytes_(std::move(bytes)), path_(std::move(path)) {}

  void PRead(void* data, size_t size, uint64_t offset) const override {
    if (offset > bytes_.size() || size > bytes_.size() - offset) {
      Fail(path_, "read " + std::to_string(size) + " bytes at " + std::to_string(offset), ENODATA);
    }
    std::memcpy(data, bytes_.data() + offset, size);
  }
  uint64_t size() const override { return bytes_.size(); }

 private:
  const std::string bytes_;
  const std::string path_;
};

RecordingFileSystem::RecordingFileSystem(DiskState state) : state_(std::move(state)) {
  next_node_ = state_.nodes.rbegin()->first + 1;
}

RecordingFileSystem::~RecordingFileSystem() = default;

RecordingFileSystem::Place RecordingFileSystem::Find(const std::string& path,
                                                     const char* doing) const {
  Place place;
  place.node = 1;
  for (const std::string& name : Split(path, '/')) {
    if (name.empty()) continue;
    if (place.node == 0) Fail(path, doing, ENOENT);
    const DiskState::Node& node = state_.nodes.at(place.node);
    if (!node.is_dir) Fail(path, doing, ENOTDIR);
    const auto entry = node.entries.find(name);
    place = {place.node, name, entry == node.entries.end() ? 0 : entry->second};
  }
  return place;
}

void RecordingFileSystem::Do(DiskOperation operation) {
  state_ = CrashState(std::exchange(state_, {}), {operation}, 1, {});
  log_.push_back(std::move(operation));
}

std::unique_ptr<WritableFile> RecordingFileSystem::Open(const std::string& path, Mode mode) {
  const std::lock_guard lock(mutex_);
  Place place = Find(path, "create");
  DiskOperation operation{Kind::kCreate};
  operation.path = path;
  if (place.node == 0) {
    operation.node = place.node = next_node_++;
    operation.dir = place.dir;
    operation.name = place.name;
    Do(operation);
  } else {
    if (state_.nodes.at(place.node).is_dir) Fail(path, "create", EISDIR);
    if (mode == Mode::kExclusive) Fail(path, "create", EEXIST);
    operation.kind = Kind::kTruncate;
    operation.node = place.node;
    if (mode == Mode::kTruncate) Do(operation);
  }
  return std::make_unique<File>(*this, place.node, path);
}

void RecordingFileSystem::Rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  const std::string doing = "rename to " + to;
  const Place source = Find(from, doing.c_str());
  const Place target = Find(to, doing.c_str());
  if (source.node == 0) Fail(from, doing, ENOENT);
  if (target.node != 0) {
    const DiskState::Node& old = state_.nodes.at(target.node);
    if (old.is_dir != state_.nodes.at(source.node).is_dir) Fail(from, doing, EISDIR);
    if (old.is_dir && !old.entries.empty()) Fail(from, doing, ENOTEMPTY);
  }
  DiskOperation operation{Kind::kRename};
  operation.node = source.node;
  operation.dir = source.dir;
  operation.name = source.name;
  operation.to_dir = target.dir;
  operation.to_name = target.name;
  operation.path = from + " -> " + to;
  Do(std::move(operation));
}

void RecordingFileSystem::SyncDir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  DiskOperation operation{Kind::kSyncDir};
  operation.node = Find(path, "open the directory").node;
  operation.path = path;
  if (operation.node == 0) Fail(path, "open the directory", ENOENT);
  Do(std::move(operation));
}

void RecordingFileSystem::MakeDir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (Find(path, "make the directory").node == 0) MakeDirLocked(path);
}

void RecordingFileSystem::MakeDirLocked(const std::string& path) {
  const Place place = Find(path, "make the directory");
  DiskOperation operation{Kind::kMakeDir};
  operation.node = next_node_++;
  operation.dir = place.dir;
  operation.name = place.name;
  operation.path = path;
  Do(std::move(operation));
}

bool RecordingFileSystem::MakeNewDir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (Find(path, "make the directory").node != 0) return false;
  MakeDirLocked(path);
  return true;
}

void RecordingFileSystem::RemoveFile(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const Place place = Find(path, "remove");
  if (place.node == 0) Fail(path, "remove", ENOENT);
  if (state_.nodes.at(place.node).is_dir) Fail(path, "remove", EISDIR);
  DiskOperation operation{Kind::kRemoveFile};
  operation.node = place.node;
  operation.dir = place.dir;
  operation.name = place.name;
  operation.path = path;
  Do(std::move(operation));
}

void RecordingFileSystem::RemoveDir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const Place place = Find(path, "remove the directory");
  if (place.node == 0) Fail(path, "remove the directory", ENOENT);
  if (!state_.nodes.at(place.node).is_dir) Fail(path, "remove the directory", ENOTDIR);
  if (!state_.nodes.at(place.node).entries.empty()) Fail(path, "remove the directory", ENOTEMPTY);
  DiskOperation operation{Kind::kRemoveDir};
  operation.node = place.node;
  operation.dir = place.dir;
  operation.name = place.name;
  operation.path = path;
  Do(std::move(operation));
}

uint64_t RecordingFileSystem::NodeAt(const std::string& path, const char* doing) const {
  try {
    return Find(path, doing).node;
  } catch (const IoError& error) {
    if (error.number() == ENOENT) return 0;
    throw;
  }
}

bool RecordingFileSystem::Exists(const std::string& path) const {
  return KindOf(path) != EntryKind::kNone;
}

EntryKind RecordingFileSystem::KindOf(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const uint64_t node = NodeAt(path, "tell whether it is there");
  if (node == 0) return EntryKind::kNone;
  return state_.nodes.at(node).is_dir ? EntryKind::kDirectory : EntryKind::kFile;
}

uint64_t RecordingFileSystem::FileSize(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const Place place = Find(path, "stat");
  if (place.node == 0) Fail(path, "stat", ENOENT);
  return state_.nodes.at(place.node).data.size();
}

std::vector<std::string> RecordingFileSystem::List(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  const uint64_t node = NodeAt(path, "list the directory");
  if (node == 0) return names;
  if (!state_.nodes.at(node).is_dir) Fail(path, "list the directory", ENOTDIR);
  for (const auto& [name, entry] : state_.nodes.at(node).entries) names.push_back(name);
  return names;
}

std::unique_ptr<ReadableFile> RecordingFileSystem::OpenToRead(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const Place place = Find(path, "open");
  if (place.node == 0) Fail(path, "open", ENOENT);
  return std::make_unique<OpenFile>(state_.nodes.at(place.node).data, path);
}

std::optional<std::string> RecordingFileSystem::ReadIfThere(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const uint64_t node = NodeAt(path, "read");
  if (node == 0) return std::nullopt;
  if (state_.nodes.at(node).is_dir) Fail(path, "read", EISDIR);
  return state_.nodes.at(node).data;
}

DiskState RecordingFileSystem::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::vector<DiskOperation> RecordingFileSystem::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

void RecordingFileSystem::ClearLog() {
  const std::lock_guard lock(mutex_);
  log_.clear();
}

}  // namespace contrail
