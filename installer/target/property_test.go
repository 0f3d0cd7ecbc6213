package target

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/signature"
)

// situation is a machine, a policy and what the disks hold, all by chance.
type situation struct {
	all      []disks.Disk
	medium   string
	policy   config.Target
	options  Options
	matching []string // disks with the image's partitions
}

// situations are drawn from few values each, so that ties, clashes and near misses are common.
func drawn(seed uint64) situation {
	r := rand.New(rand.NewPCG(seed, 0))
	one := func(n int) bool { return r.IntN(n) == 0 }
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	s := situation{options: Options{Contents: map[string]Inspection{}, ImageSize: 10 * gib}}
	for i := range r.IntN(6) {
		name := fmt.Sprintf("sd%c", 'a'+i)
		d := disks.Disk{
			Name: name, Path: "/dev/" + name, Size: int64(r.IntN(4)) * 8 * gib, LogicalSector: 512,
			Model: pick("", "MODEL A", "MODEL B"), Serial: pick("", "S1", "S2", "S3"), WWN: pick("", "", "0x51", "0x52"),
			Transport: pick("sata", "usb", "nvme", ""), Rotational: one(2), ReadOnly: one(8), Removable: one(8), HostManagedZones: one(16),
		}
		if d.WWN != "" {
			d.ByID = []string{"wwn-" + d.WWN}
		}
		if one(8) {
			d.LogicalSector = 4096
		}
		if one(8) {
			d.Holders = []string{"md0"}
		}
		if one(2) {
			d.Partitions = []disks.Partition{{Name: name + "1", Path: d.Path + "1", Number: 1}}
		}
		s.all = append(s.all, d)
		switch r.IntN(8) {
		case 0, 1:
			s.options.Contents[name] = Inspection{Contents: installed}
		case 2:
			s.options.Contents[name] = Inspection{Contents: unknown}
		case 3:
			s.options.Contents[name] = Inspection{Err: errors.New("input/output error")}
		case 4: // not looked at
		default:
			s.options.Contents[name] = Inspection{}
		}
		if one(2) {
			s.matching = append(s.matching, name)
		}
	}
	s.options.Layout = sameLayout(s.matching...)
	s.medium = pick("", "/dev/sda", "/dev/sda1", "sdb", "/dev/sdc", "/dev/sr0")
	s.policy = config.Target{Match: pick("", config.MatchOnly, config.MatchSmallestEmpty, config.MatchLargestEmpty), Wipe: one(3)}
	set := func(field *string, values ...string) {
		if one(6) {
			*field = pick(values...)
		}
	}
	set(&s.policy.Path, "/dev/sda", "/dev/sdb")
	set(&s.policy.ByID, "wwn-*", "wwn-0x51")
	set(&s.policy.Serial, "S*", "S1")
	set(&s.policy.WWN, "*", "0x52")
	set(&s.policy.Model, "MODEL ?", "*")
	set(&s.policy.Transport, "sata", "usb", "ata")
	if one(6) {
		s.policy.MinSize = 12 * gib
	}
	if one(6) {
		s.policy.MaxSize = 20 * gib
	}
	if one(6) {
		yes := one(2)
		s.policy.Rotational = &yes
	}
	if one(3) {
		s.policy.Preserve = []string{"PERSIST"}
	}
	if one(8) {
		s.options.FailedDrivers = []string{"nvme (input/output error)"}
	}
	return s
}

// check states what must hold whatever the situation.
func check(t *testing.T, s situation) (taken bool) {
	t.Helper()
	decision, err := Choose(s.all, s.medium, s.policy, s.options)

	// The order in which the kernel finds the disks means nothing.
	reversed := slices.Clone(s.all)
	slices.Reverse(reversed)
	again, errAgain := Choose(reversed, s.medium, s.policy, s.options)
	if (err == nil) != (errAgain == nil) || decision.Disk.Name != again.Disk.Name {
		t.Fatalf("%q in one order, %q in another: %v, %v", decision.Disk.Name, again.Disk.Name, err, errAgain)
	}

	if err != nil {
		var noDisk *NoDisk
		if !errors.As(err, &noDisk) || noDisk.Problem == "" || len(noDisk.Candidates) != len(s.all) {
			t.Fatalf("%#v", err)
		}
		for _, c := range noDisk.Candidates {
			if c.Taken || len(c.Reasons) == 0 {
				t.Fatalf("%s: %+v\n%v", c.Disk.Name, c, err)
			}
		}
		return false
	}
	d := decision.Disk
	inspection, inspected := s.options.Contents[d.Name]
	held := inspection.Contents
	preserved := slices.Equal(decision.Preserve, []string{"PERSIST"})
	for rule, broken := range map[string]bool{
		"the medium is never taken":                     s.medium != "" && (s.medium == d.Name || s.medium == d.Path || s.medium == d.Path+"1"),
		"what nobody read is never taken":               !inspected || inspection.Err != nil,
		"data is only overwritten when that is allowed": !held.Empty() && !s.policy.Wipe && !preserved,
		"a preserved disk has the partitions":           preserved && !slices.Contains(s.matching, d.Name),
		"nothing is preserved unasked":                  decision.Preserve != nil && s.policy.Preserve == nil,
		"what is preserved is not wiped":                preserved && slices.ContainsFunc(decision.Wiped, func(f signature.Found) bool { return f.Label == "PERSIST" }),
		"nothing found is forgotten":                    len(decision.Wiped)+len(decision.Kept) != len(held.Found),
		"read-only disks are never taken":               d.ReadOnly,
		"used disks are never taken":                    len(d.Holders) > 0,
		"small disks are never taken":                   d.Size < s.options.ImageSize,
		"large sectors are never taken":                 d.LogicalSector != 512,
		"zones are never taken":                         d.HostManagedZones,
		"the path holds":                                s.policy.Path != "" && s.policy.Path != d.Path,
		"the sizes hold":                                d.Size < s.policy.MinSize || s.policy.MaxSize > 0 && d.Size > s.policy.MaxSize,
		"rotational holds":                              s.policy.Rotational != nil && *s.policy.Rotational != d.Rotational,
		"the transport holds":                           s.policy.Transport != "" && s.policy.Transport != d.Transport && s.policy.Transport != "ata",
		"a serial number holds":                         s.policy.Serial != "" && d.Serial == "",
		"a WWN holds":                                   (s.policy.WWN != "" || s.policy.ByID != "") && d.WWN == "",
	} {
		if broken {
			t.Fatalf("%s, but %+v was by %+v\n%s", rule, d, s.policy, decision.Table())
		}
	}
	count := 0
	for _, c := range decision.Candidates {
		if c.Taken {
			count++
		}
		if c.Taken == (len(c.Reasons) > 0) || c.Taken != (c.Disk.Name == d.Name) {
			t.Fatalf("%+v", c)
		}
	}
	if count != 1 || len(decision.Candidates) != len(s.all) {
		t.Fatalf("%d disks are taken of %d", count, len(decision.Candidates))
	}
	// Another path to the medium is the medium.
	if d.WWN != "" {
		for _, o := range s.all {
			if o.WWN == d.WWN && (s.medium == o.Name || s.medium == o.Path || s.medium == o.Path+"1") {
				t.Fatalf("%s is the medium %s", d.Name, s.medium)
			}
		}
	}
	return true
}

func TestProperties(t *testing.T) {
	taken := 0
	const situations = 20000
	for seed := range uint64(situations) {
		if check(t, drawn(seed)) {
			taken++
		}
	}
	if taken < situations/20 || taken > situations*19/20 {
		t.Errorf("a disk is taken in %d of %d situations: they are not worth much", taken, situations)
	}
}

func FuzzChoose(f *testing.F) {
	f.Add(uint64(1), "S*", "/dev/sda", "MODEL [A")
	f.Fuzz(func(t *testing.T, seed uint64, serial, medium, model string) {
		s := drawn(seed)
		if len(s.all) > 0 {
			s.all[0].Serial, s.all[0].Model = serial, model
		}
		s.policy.Serial, s.medium = serial, medium
		if decision, err := Choose(s.all, s.medium, s.policy, s.options); err == nil {
			if medium != "" && (decision.Disk.Path == medium || decision.Disk.Name == medium) {
				t.Error("the medium is taken")
			}
			if !s.options.Contents[decision.Disk.Name].Contents.Empty() && !s.policy.Wipe && decision.Preserve == nil {
				t.Error("data is overwritten")
			}
		}
	})
}
