#include <map>

#include "checkpoint/buffers.h"
#include "checkpoint/format.h"
#include "checkpoint/index.h"
#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The reports, one entry per node in node order. Anything that does not fit together here never
// touched a disk: it is a mistake of the caller.
Manifest Assemble(const SavePlan& plan, const std::vector<std::string>& reports,
                  const BufferFile& buffers) {
  CONTRAIL_ASSERT(reports.size() == static_cast<size_t>(plan.topology.size));
  Manifest manifest;
  manifest.state = plan.state;
  manifest.layout = plan.layout;
  manifest.weights_only = plan.weights_only;
  manifest.buffers = buffers;
  std::map<int, uint32_t> changes;  // by node: what page checksums change skeleton_crc by
  for (int rank = 0; rank < plan.topology.size; ++rank) {
    RankReport report = DecodeReport(reports[rank]);
    CONTRAIL_ASSERT(report.part.rank == rank);
    CONTRAIL_ASSERT(report.step == plan.state.step && report.attempt == plan.state.attempt);
    CONTRAIL_ASSERT(report.node == plan.topology.node_of_rank[rank]);
    CONTRAIL_ASSERT(report.weights_only == plan.weights_only);
    ShardInfo* shard = nullptr;
    for (ShardInfo& other : manifest.shards)
      if (other.node == report.node) shard = &other;
    if (shard == nullptr) {
      shard = &manifest.shards.emplace_back();
      shard->file = ShardName(report.node);
      shard->node = report.node;
      shard->file_bytes = report.file_bytes;
      shard->skeleton_crc = report.skeleton_crc;
    }
    // Ranks of a node must have made the same skeleton, else their offsets mean different places.
    CONTRAIL_ASSERT(shard->file_bytes == report.file_bytes);
    CONTRAIL_ASSERT(shard->skeleton_crc == report.skeleton_crc);
    changes[report.node] ^= report.page_crcs_change;
    shard->parts.push_back(std::move(report.part));
  }
  for (ShardInfo& shard : manifest.shards) shard.skeleton_crc ^= changes[shard.node];
  manifest.lineage = LineageOf(manifest);
  if (const std::string wrong = CheckManifest(manifest); !wrong.empty())
    throw Error(ErrorKind::kBug, "E-BUG", "checkpoint " + StepName(plan.state.step), wrong,
                "please report this line");
  return manifest;
}

void WriteNew(FileSystem& fs, const std::string& path, const std::string& bytes) {
  const auto file = fs.Open(path, FileSystem::Mode::kExclusive);
  file->PWrite(bytes.data(), bytes.size(), 0);
  file->Sync();
  file->Close();
}

// Whether the step in `dir` holds the very bits we are about to commit, undamaged. A damaged one
// is why a resume went back and trained this step again: it must not win against ours.
bool IsSameAndSound(const FileSystem& fs, const std::string& dir, const std::string& lineage) {
  try {
    if (StepReader::Open(fs, dir)->lineage() != lineage) return false;
    VerifyStep(fs, dir);
    return true;
  } catch (const Error& error) {
    // What cannot be read for a moment may be the same and sound.
    if (!IsDamage(error) && error.id() != "E-CKPT-UNCOMMITTED" && error.id() != "E-CKPT-VERSION")
      throw;
    return false;
  }
}

std::string FreeSupersededPath(const FileSystem& fs, const SavePlan& plan) {
  uint64_t k = 1;
  for (const std::string& name : fs.List(plan.checkpoints_dir)) {
    const auto found = ParseSupersededName(name);
    if (found && found->step == plan.state.step && found->k >= k) k = found->k + 1;
  }
  return plan.checkpoints_dir + "/" + SupersededName(plan.state.step, k);
}

void TryRename(FileSystem& fs, const std::string& from, const std::string& to) {
  try {
    if (fs.Exists(from) && !fs.Exists(to)) fs.Rename(from, to);
  } catch (const Error&) {  // the first error is already on its way
  }
}

}  // namespace

std::string TemporaryDir(const SavePlan& plan) {
  return plan.checkpoints_dir + "/" +
         TemporaryName({plan.state.step, plan.state.attempt, plan.owner, plan.retry});
}

std::string CommitStep(FileSystem& fs, const SavePlan& plan,
                       const std::vector<std::string>& reports, std::string* lineage,
                       const std::function<void()>& before_publish) {
  const std::string temporary = TemporaryDir(plan);
  const std::string target = plan.checkpoints_dir + "/" + StepName(plan.state.step);
  std::string superseded;
  bool renamed = false;
  try {
    const BuffersImage buffers = MakeBuffers(plan.state.step, plan.buffers);
    Manifest manifest = Assemble(plan, reports, buffers.file);
    if (lineage != nullptr) *lineage = manifest.lineage;
    for (const ShardInfo& shard : manifest.shards) {
      const std::string path = temporary + "/" + shard.file;
      const uint64_t size = fs.FileSize(path);
      if (size != shard.file_bytes)
        throw EnvironmentError("E-CKPT-CORRUPT", path,
                               "has " + std::to_string(size) + " bytes where its ranks reported " +
                                   std::to_string(shard.file_bytes));
    }
    if (fs.Exists(target) && IsSameAndSound(fs, target, manifest.lineage)) {
      AbandonStep(fs, plan);
      return target;
    }

    if (!buffers.bytes.empty()) WriteNew(fs, temporary + "/" + kBuffersName, buffers.bytes);
    if (PiecesOfIndex(manifest) <= kMostPiecesInCommit) {
      const std::string index = MakeIndex(manifest);
      manifest.index_bytes = index.size();
      manifest.index_crc = Crc32c(0, index.data(), index.size());
      WriteNew(fs, temporary + "/" + kIndexName, index);
    }

    const std::string commit = temporary + "/" + kCommitName;
    WriteNew(fs, commit + ".tmp", EncodeManifest(manifest));
    fs.Rename(commit + ".tmp", commit);
    fs.SyncDir(temporary);

    if (before_publish) before_publish();
    if (fs.Exists(target)) {
      superseded = FreeSupersededPath(fs, plan);
      fs.Rename(target, superseded);
      fs.SyncDir(plan.checkpoints_dir);  // else a crash could leave two owners of one name
    }
    fs.Rename(temporary, target);
    renamed = true;
    fs.SyncDir(plan.checkpoints_dir);
    // The name of the checkpoints directory itself may be as new as this step.
    fs.SyncDir(ParentOf(plan.checkpoints_dir));
    return target;
  } catch (...) {
    // The caller will hear "failed", so a step it does not know must not stay visible.
    if (renamed) TryRename(fs, target, temporary);
    if (!superseded.empty()) TryRename(fs, superseded, target);
    AbandonStep(fs, plan);
    throw;
  }
}

void AbandonStep(FileSystem& fs, const SavePlan& plan) {
  try {
    fs.RemoveTree(TemporaryDir(plan));
  } catch (const Error&) {  // Prune of a later attempt removes what is left
  }
}

}  // namespace contrail::ckpt
