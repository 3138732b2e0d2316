#include "checkpoint/skeleton.h"

#include <algorithm>
#include <bit>

#include "checkpoint/format.h"
#include "checkpoint/hdf5_image.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

static_assert(std::endian::native == std::endian::little,
              "payload is written as it lies in memory");

// Makes an array whose bytes others write; returns its offset in the file.
uint64_t MakePlace(hid_t group, const char* name, hid_t type, const std::vector<hsize_t>& shape) {
  const Hid space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose,
                  "make a space");
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "allocate early");
  CheckHdf5(H5Pset_fill_time(create, H5D_FILL_TIME_NEVER), "never fill");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const Hid set(H5Dcreate2(group, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT), H5Dclose,
                "make a dataset");
  if (shape.back() == 0) return 0;
  const haddr_t offset = H5Dget_offset(set);
  CheckHdf5(offset == HADDR_UNDEF ? -1 : 0, "place a dataset");
  return offset;
}

void MakeRanges(hid_t group, const std::vector<Range>& ranges) {
  std::vector<uint64_t> flat;
  for (const Range& range : ranges) flat.insert(flat.end(), {range.begin, range.end});
  const hsize_t size[2] = {ranges.size(), 2};
  const Hid space(H5Screate_simple(2, size, nullptr), H5Sclose, "make a space");
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const Hid set(H5Dcreate2(group, "ranges", H5T_STD_U64LE, space, H5P_DEFAULT, create, H5P_DEFAULT),
                H5Dclose, "make the ranges");
  if (flat.empty()) return;
  CheckHdf5(H5Dwrite(set, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, flat.data()),
            "write the ranges");
}

}  // namespace

uint32_t Skeleton::ChangeOf(size_t i, const std::vector<uint32_t>& page_crcs) const {
  const uint64_t bytes = page_crcs.size() * sizeof(uint32_t);
  const uint64_t end = page_crcs_offsets[i] + bytes;
  uint64_t after = 0;
  for (const Extent& extent : summed)
    if (extent.end > end) after += extent.end - std::max(extent.begin, end);
  return Crc32cChange(page_crcs.data(), bytes, after);
}

Skeleton MakeSkeleton(uint64_t step, int node, const std::vector<RankRanges>& ranks, int kinds) {
  Skeleton skeleton;
  std::vector<Extent> payload, sums;
  // Room for all of HDF5's structures in front, so that the payload follows in one stretch.
  const uint64_t metadata_block = 4096 + 4096 * ranks.size();
  Hdf5Image image(kAlignment, metadata_block);
  {
    const Hid root(H5Gopen2(image.file(), "/", H5P_DEFAULT), H5Gclose, "open the root");
    PutAttribute(root, "format", std::string(kFormatName));
    PutAttribute(root, "step", step);
    PutAttribute(root, "node", static_cast<uint64_t>(node));
    for (const RankRanges& part : ranks) {
      const Hid group(
          H5Gcreate2(root, RankGroupName(part.rank).c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          H5Gclose, "make a group");
      MakeRanges(group, part.ranges);
      const uint64_t elements = NumElements(part.ranges);
      const uint64_t bytes = elements * sizeof(float);
      const uint64_t pages = (bytes + kPageBytes - 1) / kPageBytes;
      auto& offsets = skeleton.offsets.emplace_back();
      for (int kind = 0; kind < kinds; ++kind) {
        offsets[kind] = MakePlace(group, kKindNames[kind], H5T_IEEE_F32LE, {elements});
        if (bytes > 0) payload.push_back({offsets[kind], offsets[kind] + bytes});
      }
      const uint64_t sums_at =
          MakePlace(group, "page_crc32c", H5T_STD_U32LE, {static_cast<hsize_t>(kinds), pages});
      skeleton.page_crcs_offsets.push_back(sums_at);
      if (pages > 0) sums.push_back({sums_at, sums_at + kinds * pages * sizeof(uint32_t)});
    }
  }
  image.Finish();
  skeleton.file_bytes = image.size();
  skeleton.summed = Gaps(payload, skeleton.file_bytes);
  for (const Extent& gap : skeleton.summed) {
    const std::string bytes = image.Read(gap.begin, gap.end - gap.begin);
    skeleton.crc = Crc32c(skeleton.crc, bytes.data(), bytes.size());
  }
  payload.insert(payload.end(), sums.begin(), sums.end());
  for (const Extent& gap : Gaps(std::move(payload), skeleton.file_bytes))
    skeleton.pieces.push_back({gap.begin, image.Read(gap.begin, gap.end - gap.begin)});
  return skeleton;
}

}  // namespace contrail::ckpt
