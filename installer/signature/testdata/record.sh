#!/bin/bash
# Records images of what the tools of many projects write, for the tests: not every machine has all of these tools, but
# blkid, which the tests compare with, is everywhere.
#
#   testdata/record.sh        (as root: make-bcache wants it)
#
# An image is the file as a zstd stream. Most of it is zeros; the random bytes that cryptsetup puts where keys go are
# overwritten.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# record NAME SIZE COMMAND...: the command's {} is the image.
record() {
	local name=$1 size=$2 image=$work/$1
	shift 2
	truncate -s "$size" "$image"
	"${@//\{\}/$image}" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	zstd -q -f -19 --long=27 "$image" -o "$name.zst"
	rm "$image"
}
mkdir "$work/tree"
echo hello >"$work/tree/file"
export SOURCE_DATE_EPOCH=1600000000

record xfs 300M mkfs.xfs -q -f -L PERSIST {}
record btrfs 120M mkfs.btrfs -q -f -L butter {}
record f2fs 64M mkfs.f2fs -q -f -l flash {}
record exfat 16M mkfs.exfat -L stick {}
record ntfs 4M mkfs.ntfs -q -F -f -L Windows {}
record jfs 16M mkfs.jfs -q -L jay {}
record reiserfs 40M mkfs.reiserfs -f -f -q -l tree {}
record nilfs2 130M mkfs.nilfs2 -q -L log {}
record udf 16M mkudffs -l disc {}
record ocfs2 200M mkfs.ocfs2 -q -F -x -M local -L cluster {}
record minix 4M mkfs.minix {}
record minix3 4M mkfs.minix -3 {}
record squashfs 0 mksquashfs "$work/tree" {} -noappend
record erofs 0 mkfs.erofs {} "$work/tree"
record iso9660 0 xorriso -as mkisofs -V INSTALL -o {} "$work/tree"
record luks1 4M bash -c 'printf x | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 {} -; dd if=/dev/zero of={} bs=4K seek=1 count=1023 conv=notrunc'
record luks2 18M bash -c 'printf x | cryptsetup luksFormat -q --type luks2 --label secret --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {} -; dd if=/dev/zero of={} bs=4K seek=8 count=4600 conv=notrunc'
record bcache 4M make-bcache -B {}
record jbd 4M mke2fs -q -F -O journal_dev {}
record lvm2 8M bash -c 'loop=$(losetup -f --show {}) && pvcreate -q -q --config "devices { scan = [\"/dev\"] filter = [\"a|$loop|\", \"r|.*|\"] }" "$loop"; losetup -d "$loop"'
