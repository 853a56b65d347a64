-- expect: load must end with
return 42
