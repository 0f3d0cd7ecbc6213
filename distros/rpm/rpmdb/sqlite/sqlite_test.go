package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// query runs statements with SQLite's own program and returns what it prints.
func query(t testing.TB, path string, statements ...string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", append([]string{"-batch", path}, statements...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 (make test installs what the tests need): %v\n%s", err, out)
	}
	return string(out)
}

// save writes a database file and returns its path.
func save(t testing.TB, db []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db.sqlite")
	if err := os.WriteFile(path, db, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// sample is a table of n rows whose keys have up to longest bytes, with an index on each
// column.
func sample(n, longest int) Table {
	random := rand.New(rand.NewPCG(uint64(n), uint64(longest)))
	t := Table{Name: "t", SQL: "CREATE TABLE t (key TEXT, n INTEGER, blob BLOB)", Indexes: []Index{
		{Name: "t_key", SQL: "CREATE INDEX t_key ON t(key ASC)", Column: 0},
		{Name: "t_n", SQL: "CREATE INDEX t_n ON t(n ASC)", Column: 1},
		{Name: "t_blob", SQL: "CREATE INDEX t_blob ON t(blob ASC)", Column: 2},
	}}
	integers := []int64{0, 1, -1, 127, 128, -128, -129, 1<<15 - 1, 1 << 15, 1<<23 - 1, 1 << 23, -1 << 23, 1 << 31, -1 << 31, 1<<47 - 1, 1 << 47, 1<<63 - 1, -1 << 63}
	for i := range n {
		key := strings.Repeat(string(rune('a'+random.IntN(26))), random.IntN(longest+1)) + fmt.Sprint(random.IntN(n))
		row := Row{ID: int64(3*i + 1), Values: []any{key, integers[i%len(integers)], bytes.Repeat([]byte{byte(i)}, random.IntN(longest+1))}}
		if i%7 == 0 {
			row.Values[random.IntN(3)] = nil
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// SQLite itself finds every database intact, of whatever shape its trees are, and reads
// the values we do.
func TestEncode(t *testing.T) {
	for _, c := range []struct{ rows, longest int }{
		{0, 0}, {1, 0}, {2, 10}, {40, 100}, {400, 20}, {5000, 3}, {60000, 8}, {300, 990}, {300, 1100}, {300, 4100}, {3000, 1000}, {20, 100_000},
	} {
		t.Run(fmt.Sprintf("%d rows of %d", c.rows, c.longest), func(t *testing.T) {
			table := sample(c.rows, c.longest)
			db, err := Encode([]Table{table, {Name: "empty", SQL: "CREATE TABLE empty (a)"}})
			if err != nil {
				t.Fatal(err)
			}
			path := save(t, db)
			if got := query(t, path, "pragma integrity_check", "pragma journal_mode", "select count(*) from empty"); got != "ok\ndelete\n0\n" {
				t.Fatalf("integrity_check, journal_mode, empty table:\n%s", got)
			}
			var want strings.Builder
			for _, r := range table.Rows {
				fmt.Fprintf(&want, "%d", r.ID)
				for _, v := range r.Values {
					switch v := v.(type) {
					case nil:
						want.WriteString("|NULL")
					case int64:
						fmt.Fprintf(&want, "|%d", v)
					case string:
						fmt.Fprintf(&want, "|'%s'", v)
					case []byte:
						fmt.Fprintf(&want, "|X'%X'", v)
					}
				}
				want.WriteByte('\n')
			}
			if got := query(t, path, "select rowid, quote(key), quote(n), quote(blob) from t"); got != want.String() {
				t.Error("sqlite3 reads other rows than were written")
			}
			// Every entry can be found through each index.
			got := query(t, path, "select count(*) from t indexed by t_key where key is not null", "select count(key) from t not indexed",
				"select count(*) from t indexed by t_n where n is not null", "select count(n) from t not indexed",
				"select count(*) from t indexed by t_blob where blob is not null", "select count(blob) from t not indexed")
			counts := strings.Fields(got)
			if counts[0] != counts[1] || counts[2] != counts[3] || counts[4] != counts[5] {
				t.Errorf("counts by index and by table: %s", counts)
			}
			back, err := Rows(db, "T")
			if err != nil {
				t.Fatal(err)
			}
			if len(back) != len(table.Rows) || len(back) > 0 && !reflect.DeepEqual(back, table.Rows) {
				t.Error("Rows reads other rows than were written")
			}
			again, err := Encode([]Table{table, {Name: "empty", SQL: "CREATE TABLE empty (a)"}})
			if err != nil || !bytes.Equal(db, again) {
				t.Errorf("encoding again gives other bytes (%v)", err)
			}
			// SQLite can go on from there.
			if got := query(t, path, "insert into t select * from t", "delete from t where rowid % 2", "vacuum", "pragma integrity_check"); got != "ok\n" {
				t.Errorf("after changes by sqlite3: %s", got)
			}
		})
	}
}

// Schemas of any length lie in the page they have to.
func TestEncodeSchema(t *testing.T) {
	for _, n := range []int{1, 5, 20, 36, 37, 38, 39, 40, 41, 42, 60, 2000} {
		var tables []Table
		for i := range n {
			name := fmt.Sprintf("table_%d", i)
			tables = append(tables, Table{Name: name, SQL: "CREATE TABLE " + name + " (a, b, c, d)", Rows: []Row{{ID: 1, Values: []any{int64(i), nil, nil, nil}}}})
		}
		db, err := Encode(tables)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("ok\n%d\n%d\n", n, n-1)
		if got := query(t, save(t, db), "pragma integrity_check", "select count(*) from sqlite_schema", fmt.Sprintf("select a from table_%d", n-1)); got != want {
			t.Errorf("%d tables: sqlite3 says %q", n, got)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for want, table := range map[string]Table{
		"table t: row 1 comes after row 1":  {Name: "t", Rows: []Row{{ID: 1}, {ID: 1}}},
		"table t: row 2: a value is a bool": {Name: "t", Rows: []Row{{ID: 2, Values: []any{true}}}},
		"index x: row 1 has no column 4":    {Name: "t", Rows: []Row{{ID: 1}}, Indexes: []Index{{Name: "x", Column: 4}}},
	} {
		if _, err := Encode([]Table{table}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// Databases that SQLite wrote, of every page size, are read.
func TestRows(t *testing.T) {
	for _, size := range []int{512, 1024, 4096, 65536} {
		path := filepath.Join(t.TempDir(), "db.sqlite")
		query(t, path, fmt.Sprintf("pragma page_size=%d", size), "create table other (x)", "create table t (id integer primary key, s text, b blob)",
			"with recursive n(i) as (select 1 union all select i+1 from n where i < 3000) insert into t select i, 'row ' || i, zeroblob(i % 1500) from n",
			"delete from t where id % 3 = 0")
		db, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := Rows(db, "t")
		if err != nil {
			t.Fatalf("page size %d: %v", size, err)
		}
		if len(rows) != 2000 {
			t.Fatalf("page size %d: %d rows", size, len(rows))
		}
		for i, r := range rows {
			id := int64(i/2*3 + i%2 + 1)
			if want := (Row{ID: id, Values: []any{nil, fmt.Sprint("row ", id), make([]byte, id%1500)}}); !reflect.DeepEqual(r, want) {
				t.Fatalf("page size %d, row %d: %v", size, i, r)
			}
		}
		if _, err := Rows(db, "missing"); !errors.Is(err, ErrNoTable) {
			t.Errorf("missing table: %v", err)
		}
	}
}

func TestRowsRefuses(t *testing.T) {
	good, err := Encode([]Table{sample(300, 5000)})
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func([]byte) []byte) []byte { return f(bytes.Clone(good)) }
	for want, db := range map[string][]byte{
		"this is not an SQLite 3 database":  []byte("SQLite format 2"),
		"the page size 1000 is none":        change(func(p []byte) []byte { p[16], p[17] = 3, 0xe8; return p }),
		"the text encoding 2 is not UTF-8":  change(func(p []byte) []byte { p[59] = 2; return p }),
		"within the first page":             good[:4000],
		"is beyond the end of the file":     good[:3*pageSize],
		"schema: page 1: type 2 is none of": change(func(p []byte) []byte { p[100] = 2; return p }),
	} {
		if _, err := Rows(db, "t"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// Damaged files give an error or rows, never more bytes than the file has.
func FuzzRows(f *testing.F) {
	// Small pages make small files, of which the fuzzer can try many.
	for i, rows := range []string{"(1, 'a', null)", "(1, 'a', 2), (4000000000, 'b', -70000)", "(1, hex(zeroblob(700)), zeroblob(900))", "(1, hex(zeroblob(100)), 1), (2, hex(zeroblob(110)), 0), (3, hex(zeroblob(120)), 3), (4, hex(zeroblob(130)), 4)"} {
		path := filepath.Join(f.TempDir(), fmt.Sprint(i))
		query(f, path, "pragma page_size=512", "create table t (id integer primary key, s text, v)", "insert into t values "+rows)
		db, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(db)
	}
	f.Fuzz(func(t *testing.T, db []byte) {
		rows, err := Rows(db, "t")
		if err != nil {
			return
		}
		total := 0
		for _, r := range rows {
			for _, v := range r.Values {
				switch v := v.(type) {
				case string:
					total += len(v)
				case []byte:
					total += len(v)
				}
			}
		}
		// Cells of one page may overlap, so it is not exactly its size.
		if total > len(db)*2048 {
			t.Errorf("%d bytes of values from a file of %d", total, len(db))
		}
	})
}
