package distros

import (
	"errors"
	"testing"
)

func TestLoad(t *testing.T) {
	for _, name := range Names() {
		d, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%+v", *d)
	}
}

func TestLoadUnknown(t *testing.T) {
	var unknown *UnknownError
	_, err := Load("debian-21")
	if !errors.As(err, &unknown) || unknown.ExitStatus() != 2 {
		t.Fatalf("err = %v", err)
	}
	t.Log(err)
}
