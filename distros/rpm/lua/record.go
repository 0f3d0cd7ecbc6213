package lua

import (
	"fmt"

	lua "github.com/yuin/gopher-lua"
)

// An answer is what a function of the outer world returned, or the error it raised.
type answer struct {
	Function string
	Values   []value
	Raised   bool
	Error    string
}

// A value is a Lua value on its way to a child.
type value struct {
	Kind  kind
	Truth bool
	N     float64
	S     string
	Table []pair
}

type pair struct{ Key, Value value }

type kind uint8

const (
	isNil kind = iota
	isBool
	isNumber
	isString
	isTable
	isFunction // an iterator; S is its name
	isFile     // N numbers it
)

// recorder notes the answers of the outer world, and gives noted ones in a child.
type recorder struct {
	log    []answer
	next   int  // the answer to give next; past the last one while acting
	forked bool // this is a child of posix.fork
	inside bool // a recorded function is running: those it calls itself are part of its answer
	files  map[*lua.LUserData]int
	inert  map[int]*lua.LUserData // stand for files that the parent had opened
}

// replaying reports whether there are answers left to give.
func (r *recorder) replaying() bool { return r.next < len(r.log) }

// note records an answer.
func (r *recorder) note(a answer) {
	r.log = append(r.log, a)
	r.next = len(r.log)
}

// recordAll has all functions of a table recorded.
func (r *recorder) recordAll(L *lua.LState, name string, table *lua.LTable) {
	var names []string
	for key, v := table.Next(lua.LNil); key != lua.LNil; key, v = table.Next(key) {
		if _, ok := v.(*lua.LFunction); ok {
			names = append(names, key.String())
		}
	}
	for _, function := range names {
		r.recordOne(L, name, table, function)
	}
}

// recordOne has one function of a table recorded.
func (r *recorder) recordOne(L *lua.LState, table string, t *lua.LTable, name string) {
	full := table + "." + name
	function := t.RawGetString(name).(*lua.LFunction)
	if full == "posix.fork" {
		return // records itself
	}
	t.RawSetString(name, L.NewFunction(r.wrap(full, function)))
}

// wrap returns function with its answers recorded, or given from the record.
func (r *recorder) wrap(name string, function lua.LValue) lua.LGFunction {
	return func(L *lua.LState) int {
		if r.replaying() {
			return r.replay(L, name)
		}
		args := L.GetTop()
		for n := 1; n <= args; n++ {
			r.refuseInert(L, L.Get(n))
		}
		L.Push(function)
		for n := 1; n <= args; n++ {
			L.Push(L.Get(n))
		}
		if r.inside {
			L.Call(args, lua.MultRet)
			return L.GetTop() - args
		}
		r.inside = true
		defer func() {
			r.inside = false
			if failure := recover(); failure != nil {
				r.note(answer{Function: name, Raised: true, Error: raised(failure)})
				panic(failure)
			}
		}()
		L.Call(args, lua.MultRet)
		a := answer{Function: name}
		for n := args + 1; n <= L.GetTop(); n++ {
			v := L.Get(n)
			if iterator, ok := v.(*lua.LFunction); ok {
				L.Replace(n, L.NewFunction(r.wrap(name+" iterator", iterator)))
			}
			a.Values = append(a.Values, r.encode(v, name))
		}
		r.note(a)
		return L.GetTop() - args
	}
}

// raised is the text of what a function panicked with.
func raised(failure any) string {
	if err, ok := failure.(error); ok {
		return message(err)
	}
	return fmt.Sprint(failure)
}

// replay gives the next recorded answer, which must be one of the named function.
func (r *recorder) replay(L *lua.LState, name string) int {
	a := r.log[r.next]
	r.next++
	if a.Function != name {
		L.RaiseError("after posix.fork the script called %s where its parent had called %s; it must not depend on anything but what it asks of the system", name, a.Function)
	}
	if a.Raised {
		L.Error(lua.LString(a.Error), 0)
	}
	for _, v := range a.Values {
		L.Push(r.decode(L, v))
	}
	return len(a.Values)
}

// refuseInert raises an error when v is a file of the parent's.
func (r *recorder) refuseInert(L *lua.LState, v lua.LValue) {
	for _, file := range r.inert {
		if v == file {
			L.RaiseError("a file opened before posix.fork cannot be used in its child by imagefactory's Lua; open it after the fork")
		}
	}
}

// encode returns v for the record.
func (r *recorder) encode(v lua.LValue, name string) value {
	switch v := v.(type) {
	case lua.LBool:
		return value{Kind: isBool, Truth: bool(v)}
	case lua.LNumber:
		return value{Kind: isNumber, N: float64(v)}
	case lua.LString:
		return value{Kind: isString, S: string(v)}
	case *lua.LFunction:
		return value{Kind: isFunction, S: name + " iterator"}
	case *lua.LUserData:
		if r.files == nil {
			r.files = map[*lua.LUserData]int{}
		}
		if _, ok := r.files[v]; !ok {
			r.files[v] = len(r.files)
		}
		return value{Kind: isFile, N: float64(r.files[v])}
	case *lua.LTable:
		t := value{Kind: isTable}
		// Next goes in the order in which the keys were set, which scripts can see.
		for key, element := v.Next(lua.LNil); key != lua.LNil; key, element = v.Next(key) {
			t.Table = append(t.Table, pair{r.encode(key, name), r.encode(element, name)})
		}
		return t
	}
	return value{}
}

// decode makes the value again.
func (r *recorder) decode(L *lua.LState, v value) lua.LValue {
	switch v.Kind {
	case isBool:
		return lua.LBool(v.Truth)
	case isNumber:
		return lua.LNumber(v.N)
	case isString:
		return lua.LString(v.S)
	case isFunction:
		ended := L.NewFunction(func(L *lua.LState) int {
			L.RaiseError("an iterator made before posix.fork cannot be used in its child by imagefactory's Lua")
			return 0
		})
		return L.NewFunction(r.wrap(v.S, ended))
	case isFile:
		if r.inert == nil {
			r.inert, r.files = map[int]*lua.LUserData{}, map[*lua.LUserData]int{}
		}
		file, ok := r.inert[int(v.N)]
		if !ok {
			file = L.NewUserData()
			L.SetMetatable(file, L.GetTypeMetatable("FILE*"))
			r.inert[int(v.N)] = file
			r.files[file] = int(v.N)
		}
		return file
	case isTable:
		t := L.NewTable()
		for _, p := range v.Table {
			t.RawSet(r.decode(L, p.Key), r.decode(L, p.Value))
		}
		return t
	}
	return lua.LNil
}
