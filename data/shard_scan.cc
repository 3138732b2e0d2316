#include <algorithm>
#include <cctype>
#include <filesystem>
#include <unordered_map>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "data/shard_index.h"

namespace contrail::data {
namespace {

// "dir/000123.seg.png" -> {"dir/000123", "seg.png"}; an empty key where there is none.
std::pair<std::string, std::string> SplitName(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t base = slash == std::string::npos ? 0 : slash + 1;
  const size_t dot = name.find('.', base);
  if (dot == std::string::npos || dot == base) return {};
  std::string extension = name.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string key = name.substr(0, dot);
  if (key.starts_with("./")) key.erase(0, 2);
  return {std::move(key), std::move(extension)};
}

bool IsSampleKey(const std::string& key) {
  return !key.empty() && !(key.starts_with("__") && key.ends_with("__"));
}

Extent* SlotFor(SampleEntry& entry, const std::string& extension) {
  if (IsPictureExtension(extension)) return &entry.image;
  if (extension == "txt") return &entry.caption;
  if (extension == "cls") return &entry.label;
  if (extension == "json") return &entry.json;
  return nullptr;
}

std::string Normal(const std::string& name) {
  std::string out = std::filesystem::path(name).lexically_normal().string();
  return out.starts_with("./") ? out.substr(2) : out;
}

// The name that a link stands for, as the archive would write it.
std::string TargetOf(const TarMember& link) {
  if (link.link == LinkKind::kHard) return Normal(link.target);
  return Normal((std::filesystem::path(link.name).parent_path() / link.target).string());
}

class ShardScan {
 public:
  ShardScan(const PositionedFile& tar, AtTear at_tear, const OnBytes& passed)
      : tar_(tar), at_tear_(at_tear), passed_(passed) {}

  ShardIndex Run() {
    ShardIndex index;
    try {
      ScanTar(tar_, [this](const TarMember& member) { Add(member); });
    } catch (const TornTail& tear) {
      if (at_tear_ == AtTear::kThrow || (!is_tar_ && tear.member().empty())) throw;
      index.torn = tear.what();
      AddTorn(tear.member());
    }
    if (!links_.empty()) FollowLinks(!index.torn.empty());
    index.left_out = left_out_;
    for (SampleEntry& entry : groups_) {
      if (!entry.image.present()) {
        ++index.left_out.groups;
        continue;
      }
      if (IsBlank(entry.caption)) entry.caption = {};
      index.samples.push_back(entry);
    }
    return index;
  }

 private:
  struct Link {
    TarMember member;
    size_t group;
    std::string extension;
  };

  void Add(const TarMember& member) {
    is_tar_ = true;
    if (passed_) passed_(member.offset + member.size - end_);
    end_ = member.offset + member.size;
    auto [key, extension] = SplitName(member.name);
    if (!IsSampleKey(key)) return;
    SampleEntry& entry = GroupOf(std::move(key));
    Extent* slot = SlotFor(entry, extension);
    if (slot == nullptr) {
      CountLeftOut(extension, left_out_);
    } else if (member.link != LinkKind::kNone) {
      links_.push_back({member, current_, extension});
    } else {
      Fill(entry, extension, member.offset, {member.offset, member.size});
    }
  }

  // What the tear is in is another sample where its name says so; else the last one may lack a
  // member, and nobody can tell.
  void AddTorn(const std::string& member) {
    std::string key = SplitName(member).first;
    if (IsSampleKey(key)) {
      GroupOf(std::move(key));
    } else if (groups_.empty()) {
      GroupOf("?");
    }
    groups_[current_].image = {tar_.size(), 1};
  }

  // The members of a sample are neighbours nearly always; where they are not (all pictures, then
  // all captions), the key says where they belong.
  SampleEntry& GroupOf(std::string key) {
    if (!groups_.empty() && groups_[current_].key == key) return groups_[current_];
    const auto [found, fresh] = group_of_.emplace(key, groups_.size());
    current_ = found->second;
    if (fresh) groups_.emplace_back().key = std::move(key);
    return groups_[current_];
  }

  void Fill(SampleEntry& entry, const std::string& extension, uint64_t at, Extent extent) const {
    Extent* slot = SlotFor(entry, extension);
    if (slot->present()) {
      Bad(at, "sample '" + entry.key + "' has a second ." + extension + " (or a second picture)",
          "keys must be unique within a shard: pack it again");
    }
    *slot = extent;
  }

  // Links are rare: only an archive with some is walked again for the names they point to.
  void FollowLinks(bool torn) {
    std::unordered_map<std::string, Extent> files;
    std::unordered_map<std::string, std::string> targets;
    try {
      ScanTar(tar_, [&](const TarMember& member) {
        if (member.link == LinkKind::kNone) {
          files[Normal(member.name)] = {member.offset, member.size};
        } else {
          targets[Normal(member.name)] = TargetOf(member);
        }
      });
    } catch (const TornTail&) {
      if (!torn) throw;
    }
    for (const Link& link : links_) {
      std::string name = TargetOf(link.member);
      constexpr int kMostHops = 40;  // as the kernel
      for (int hop = 0; hop < kMostHops && targets.count(name) > 0; ++hop) name = targets[name];
      const auto file = files.find(name);
      if (file == files.end()) {
        if (torn) continue;  // it may lie beyond the tear
        Bad(link.member.offset,
            "'" + link.member.name + "' is a link to '" + link.member.target +
                "', which is no file in this archive",
            "pack the shard with the files themselves: tar --dereference --hard-dereference");
      }
      Fill(groups_[link.group], link.extension, link.member.offset, file->second);
    }
  }

  // Captions of a few bytes may hold nothing but white space.
  bool IsBlank(const Extent& caption) const {
    constexpr uint64_t kLookedAt = 16;
    if (!caption.present() || caption.size > kLookedAt) return false;
    return Trim(tar_.Read(caption.offset, caption.size)).empty();
  }

  [[noreturn]] void Bad(uint64_t offset, const std::string& what, const std::string& fix) const {
    throw UserError("E-DATA-TAR", tar_.path() + " at byte " + std::to_string(offset), what, fix);
  }

  const PositionedFile& tar_;
  const AtTear at_tear_;
  const OnBytes& passed_;
  uint64_t end_ = 0;                 // of the last member's contents
  bool is_tar_ = false;              // a header was whole
  std::vector<SampleEntry> groups_;  // in the order of their first members
  std::unordered_map<std::string, size_t> group_of_;
  size_t current_ = 0;
  std::vector<Link> links_;
  LeftOut left_out_;
};

}  // namespace

ShardIndex ScanShard(const PositionedFile& tar, AtTear at_tear, const OnBytes& passed) {
  return ShardScan(tar, at_tear, passed).Run();
}

ShardIndex ScanToTrain(const PositionedFile& tar, const OnBytes& passed) {
  ShardIndex index = ScanShard(tar, AtTear::kNumber, passed);
  if (!index.torn.empty()) {
    LogWarning(index.torn + "; training goes on with its " +
               std::to_string(index.samples.size() - 1) +
               " whole samples, and replaces the torn one");
  }
  return index;
}

}  // namespace contrail::data
