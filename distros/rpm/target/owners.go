package target

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/accounts"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
)

// capabilityAttribute is the extended attribute that holds file capabilities.
const capabilityAttribute = "security.capability"

// setOwners gives files to the users and groups of these names in the root's files. A
// name that is not there means root, with a warning and without the file's set-id bit, as
// in rpm. Files that are not there were left out on purpose.
func setOwners(owners []transaction.Owner, warn func(string)) error {
	db, err := accounts.Read("")
	if err != nil {
		return err
	}
	warned := map[string]bool{}
	once := func(text string) {
		if !warned[text] {
			warned[text] = true
			warn(text)
		}
	}
	for _, o := range owners {
		var strip uint32
		user, ok := db.User(o.User)
		if !ok && o.User != "root" && o.User != "" {
			once(fmt.Sprintf("user %s does not exist - using root", o.User))
			strip |= unix.S_ISUID
		}
		group, ok := db.Group(o.Group)
		if !ok && o.Group != "root" && o.Group != "" {
			once(fmt.Sprintf("group %s does not exist - using root", o.Group))
			strip |= unix.S_ISGID
		}
		err := setOwner(o.Path, int(user.UID), int(group.GID), strip)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
			once(fmt.Sprintf("files cannot be given to %s:%s: the sandbox has no such ids", o.User, o.Group))
			continue
		}
		if err != nil {
			return fmt.Errorf("the owner of %s: %w", o.Path, err)
		}
	}
	return nil
}

// setOwner changes the owner of one file, not following a link, and puts back what the kernel
// takes away with that: set-id bits but those to strip, and capabilities.
func setOwner(path string, uid, gid int, strip uint32) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	var capability []byte
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		buffer := make([]byte, 256)
		if n, err := unix.Lgetxattr(path, capabilityAttribute, buffer); err == nil {
			capability = buffer[:n]
		}
	}
	if err := unix.Lchown(path, uid, gid); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&0o7000 != 0 {
		if err := unix.Chmod(path, st.Mode&0o7777&^strip); err != nil {
			return err
		}
	}
	if capability != nil {
		return unix.Lsetxattr(path, capabilityAttribute, capability, 0)
	}
	return nil
}
