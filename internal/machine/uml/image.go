package uml

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"drawbridge/internal/model"
)

// image is what a disk image holds.
type image struct {
	size int64
	// partition is the number of the one with the file system, 0 where the whole image
	// is one file system.
	partition int
	// fs is the file system's name as mount(8) has it, "" for one that is not known.
	fs string
}

// device is its name in the guest.
func (i image) device() string {
	if i.partition == 0 {
		return "/dev/ubda"
	}
	return fmt.Sprintf("/dev/ubda%d", i.partition)
}

// sector is the unit of partition tables in bytes.
const sector = 512

// inspect finds out what a raw image holds. What is no raw image is refused, with the
// way to make one of it.
func inspect(r io.ReaderAt, size int64) (image, error) {
	head := make([]byte, sector)
	if n, err := r.ReadAt(head, 0); n < sector {
		if errors.Is(err, io.EOF) {
			return image{}, fmt.Errorf("%w: %d bytes are no disk image", model.ErrInvalid, size)
		}
		return image{}, err
	}
	if err := otherFormat(head); err != nil {
		return image{}, err
	}
	if fs := fileSystem(r, 0); fs != "" {
		return image{size: size, fs: fs}, nil
	}
	parts := partitions(r, head)
	for i, p := range parts {
		if fs := fileSystem(r, p.begin); fs != "" && fs != "vfat" {
			return image{size, p.number, fs}, nil
		}
		if i > 128 {
			break
		}
	}
	if len(parts) > 0 {
		return image{}, fmt.Errorf("%w: none of its %d partitions holds a file system that is known here", model.ErrInvalid, len(parts))
	}
	return image{}, fmt.Errorf("%w: it holds neither a file system nor a partition table that is known here (hint: mkfs.ext4 makes one)", model.ErrInvalid)
}

// formats are those of others, by how they begin.
var formats = []struct{ magic, name, hint string }{
	{"QFI\xfb", "a qcow2 image", "qemu-img convert -O raw IMAGE IMAGE.raw"},
	{"KDMV", "a VMDK image", "qemu-img convert -O raw IMAGE IMAGE.raw"},
	{"# Disk DescriptorFile", "the description of a VMDK image", "qemu-img convert -O raw IMAGE IMAGE.raw"},
	{"vhdxfile", "a VHDX image", "qemu-img convert -O raw IMAGE IMAGE.raw"},
	{"conectix", "a VHD image", "qemu-img convert -O raw IMAGE IMAGE.raw"},
	{"\x1f\x8b", "compressed (gzip)", "gunzip it first"},
	{"\xfd7zXZ", "compressed (xz)", "unxz it first"},
	{"\x28\xb5\x2f\xfd", "compressed (zstd)", "unzstd it first"},
	{"BZh", "compressed (bzip2)", "bunzip2 it first"},
	{cowMagic, "a COW overlay, not an image", "name the image itself; writes: keep has an overlay of its own"},
	{"\x7fELF", "a program, not an image", ""},
}

func otherFormat(head []byte) error {
	for _, f := range formats {
		if !bytes.HasPrefix(head, []byte(f.magic)) {
			continue
		}
		err := fmt.Errorf("%w: it is %s", model.ErrInvalid, f.name)
		if f.hint != "" {
			err = fmt.Errorf("%w (hint: %s)", err, f.hint)
		}
		return err
	}
	return nil
}

// superblocks are where file systems have their magic numbers.
var superblocks = []struct {
	fs    string
	at    int64
	magic string
}{
	{"ext4", 1080, "\x53\xef"}, // ext2 and ext3 too: the driver mounts all three
	{"xfs", 0, "XFSB"},
	{"btrfs", 65600, "_BHRfS_M"},
	{"squashfs", 0, "hsqs"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"iso9660", 32769, "CD001"},
	{"vfat", 82, "FAT32"},
	{"vfat", 54, "FAT1"},
}

func fileSystem(r io.ReaderAt, begin int64) string {
	for _, s := range superblocks {
		b := make([]byte, len(s.magic))
		if n, _ := r.ReadAt(b, begin+s.at); n == len(b) && string(b) == s.magic {
			return s.fs
		}
	}
	return ""
}

// partition is one of a table: its number as the kernel counts, and its first byte.
type partition struct {
	number int
	begin  int64
}

// partitions reads a GPT (UEFI 5.3), else the primary partitions of an MBR.
func partitions(r io.ReaderAt, head []byte) []partition {
	if head[510] != 0x55 || head[511] != 0xaa {
		return nil
	}
	gpt := make([]byte, 92)
	if n, _ := r.ReadAt(gpt, sector); n == len(gpt) && string(gpt[:8]) == "EFI PART" {
		return guidPartitions(r, gpt)
	}
	var out []partition
	for i := range 4 {
		entry := head[446+16*i:]
		if entry[4] != 0 && entry[4] != 5 && entry[4] != 15 { // empty, extended
			out = append(out, partition{i + 1, int64(binary.LittleEndian.Uint32(entry[8:])) * sector})
		}
	}
	return out
}

func guidPartitions(r io.ReaderAt, header []byte) []partition {
	at := int64(binary.LittleEndian.Uint64(header[72:])) * sector
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if size < 128 || size > 4096 || at <= 0 {
		return nil
	}
	var out []partition
	for i := range int64(min(count, 128)) {
		entry := make([]byte, 128)
		if n, _ := r.ReadAt(entry, at+i*int64(size)); n < len(entry) {
			break
		}
		if first := int64(binary.LittleEndian.Uint64(entry[32:])); first > 0 && first < 1<<50 && !bytes.Equal(entry[:16], make([]byte, 16)) {
			out = append(out, partition{int(i) + 1, first * sector})
		}
	}
	return out
}

// cowMagic begins a COW overlay, in the byte order of big-endian machines.
const cowMagic = "OOOM"

// cow is the header of an overlay: struct cow_header_v3 of arch/um/drivers/cow_user.c.
type cow struct {
	version uint32
	mtime   uint32 // of the image, when the overlay was made
	size    uint64 // of the image
	backing string
}

const (
	cowPath   = 4096                                             // bytes of the image's path
	cowHeader = 4 + 4 + 4 + 8 + 4 + 4 + 4 + cowPath              // packed
	cowAlign  = 4096                                             // of the bitmap and of the data
	cowBitmap = (cowHeader + cowAlign - 1) / cowAlign * cowAlign // where it begins
)

// makeCOW makes an empty overlay of an image as a UML does (init_cow_file), unless it is
// there: a header, a bitmap of the sectors that are in it, and room for all of them, none
// of which takes any of the disk.
func makeCOW(path, image string) error {
	st, err := os.Stat(image)
	if err != nil {
		return err
	}
	if image, err = filepath.Abs(image); err != nil {
		return err
	}
	if len(image) >= cowPath {
		return fmt.Errorf("%w: a path of %d bytes", model.ErrInvalid, len(image))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	size := uint64(st.Size())
	b := append(make([]byte, 0, cowHeader), cowMagic...)
	for _, v := range []uint32{3, uint32(st.ModTime().Unix())} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, size)
	for _, v := range []uint32{sector, cowAlign, 0} { // 0: a bitmap
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(append(b, image...), make([]byte, cowPath-len(image))...)
	data := cowBitmap + (size+sector-1)/(8*sector)
	data = (data + cowAlign - 1) / cowAlign * cowAlign
	_, err = f.Write(b)
	if err == nil {
		err = f.Truncate(int64(data + size))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// readCOW reads an overlay's header.
func readCOW(r io.ReaderAt) (cow, error) {
	b := make([]byte, 32+4096)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return cow{}, err
	}
	if n < 33 || string(b[:4]) != cowMagic {
		return cow{}, fmt.Errorf("%w: no COW overlay", model.ErrInvalid)
	}
	c := cow{version: binary.BigEndian.Uint32(b[4:])}
	if c.version != 3 {
		return cow{}, fmt.Errorf("%w: a COW overlay of version %d, not 3", model.ErrInvalid, c.version)
	}
	// magic version mtime size sectorsize alignment cow_format backing_file, packed
	c.mtime, c.size = binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint64(b[12:])
	name := b[32:n]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	c.backing = string(name)
	return c, nil
}
