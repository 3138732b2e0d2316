#pragma once
// File systems for tests: one in memory that records every operation and can rebuild any state a
// crash could leave, and one that fails at a chosen operation.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "common/pass_through_file_system.h"

namespace contrail {

// What a disk holds: files and directories by number, names in directories. Number 1 is "/".
struct DiskState {
  struct Node {
    bool is_dir = false;
    std::string data;
    std::map<std::string, uint64_t> entries;
  };
  std::map<uint64_t, Node> nodes = {{1, {true, {}, {}}}};

  // Hash of everything reachable from "/": equal for states that no program can tell apart.
  uint64_t Fingerprint() const;
};

// One recorded change. `node` is the file or directory concerned, `dir` and `name` where it is
// entered (kRename: comes from; to_dir, to_name: goes to).
struct DiskOperation {
  enum class Kind {
    kMakeDir,
    kCreate,
    kTruncate,
    kWrite,
    kSync,
    kRename,
    kSyncDir,
    kRemoveFile,
    kRemoveDir
  };
  Kind kind;
  uint64_t node = 0;
  uint64_t dir = 0;
  std::string name;
  uint64_t to_dir = 0;
  std::string to_name;
  uint64_t offset = 0;
  std::string data;
  std::string path;  // for people

  bool IsData() const { return kind == Kind::kTruncate || kind == Kind::kWrite; }
  bool IsName() const { return kind != Kind::kSync && kind != Kind::kSyncDir && !IsData(); }
};

// Indices i < prefix of operations that a crash right after the first `prefix` may undo: data not
// followed by a sync of that file, names not followed by a sync of that directory (both
// directories for a rename). fsync(file) is not taken to make the file's name durable.
std::vector<size_t> PendingOperations(const std::vector<DiskOperation>& log, size_t prefix);

// A write that reached the disk in part.
struct TornWrite {
  size_t operation = SIZE_MAX;  // index in the log
  uint64_t keep = 0;            // bytes that arrived (a multiple of 512)
  bool zero_rest = false;       // the file has its full length all the same, with zeros
};

// `base` after the first `prefix` operations without those in `dropped`.
DiskState CrashState(const DiskState& base, const std::vector<DiskOperation>& log, size_t prefix,
                     const std::set<size_t>& dropped, const TornWrite& torn = {});

// A thread-safe file system in memory with errors as of POSIX. Paths are absolute.
class RecordingFileSystem : public FileSystem {
 public:
  explicit RecordingFileSystem(DiskState state = {});
  ~RecordingFileSystem() override;

  std::unique_ptr<WritableFile> Open(const std::string& path, Mode mode) override;
  void Rename(const std::string& from, const std::string& to) override;
  void SyncDir(const std::string& path) override;
  void MakeDir(const std::string& path) override;
  bool MakeNewDir(const std::string& path) override;
  void RemoveFile(const std::string& path) override;
  void RemoveDir(const std::string& path) override;
  bool Exists(const std::string& path) const override;
  EntryKind KindOf(const std::string& path) const override;
  uint64_t FileSize(const std::string& path) const override;
  std::vector<std::string> List(const std::string& path) const override;
  std::unique_ptr<ReadableFile> OpenToRead(const std::string& path) const override;
  std::optional<std::string> ReadIfThere(const std::string& path) const override;

  DiskState state() const;                 // as if every operation had reached the disk
  std::vector<DiskOperation> log() const;  // since the start, or ClearLog
  void ClearLog();

 private:
  class File;
  class OpenFile;
  struct Place {
    uint64_t dir = 0;
    std::string name;
    uint64_t node = 0;  // 0: no such entry
  };
  // Node 0 where the folder has no such entry; throws where there is no such folder.
  Place Find(const std::string& path, const char* doing) const;
  // As Find, and 0 too where a folder on the way is missing.
  uint64_t NodeAt(const std::string& path, const char* doing) const;
  void MakeDirLocked(const std::string& path);
  void Do(DiskOperation operation);

  mutable std::mutex mutex_;
  DiskState state_;
  uint64_t next_node_ = 0;
  std::vector<DiskOperation> log_;
};

// Passes everything on to `inner` and fails changing operation number `fail_at` (1-based: open,
// make room, write, sync, close, rename, directory sync, make, remove) with "No space left on
// device"; a failing write leaves its first half. With `for_good`, everything after it fails as
// well. Questions and reads fail where FailQuestions says so.
class FaultyFileSystem : public PassThroughFileSystem {
 public:
  FaultyFileSystem(FileSystem& inner, uint64_t fail_at, bool for_good);
  // Changes nothing by itself.
  explicit FaultyFileSystem(FileSystem& inner) : FaultyFileSystem(inner, UINT64_MAX, false) {}

  // The next `times` questions about (Exists, KindOf, FileSize, List) and reads of paths that hold
  // `part` fail with errno value `number`; a file that is open already is read on.
  void FailQuestions(std::string part, int number, uint64_t times);

  bool failed() const { return operations_.load() >= fail_at_; }  // whether fail_at was reached

 protected:
  void Before(Act act, const std::string& path, const char* doing) const override;
  void PassWrite(WritableFile& file, const std::string& path, Write write, const void* data,
                 size_t size, uint64_t offset) const override;

 private:
  bool Fails() const;  // counts one operation
  void Ask(const std::string& path) const;

  const uint64_t fail_at_;
  const bool for_good_;
  mutable std::atomic<uint64_t> operations_{0};
  mutable std::mutex mutex_;
  std::string part_;                     // guarded by mutex_
  int number_ = 0;                       // guarded by mutex_
  mutable uint64_t questions_left_ = 0;  // guarded by mutex_
};

}  // namespace contrail
